"""Every form of a picture gets the same answer, alone or among others, and a list of files can be endless."""

import threading
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import digitnet
from digitnet import predictor
from digitnet.errors import CheckpointError, PictureError
from digitnet.pictures import Prepared, read_digit, read_prepared
from digitnet.predictor import BATCH_SIZE, Classifier, Prediction
from digitnet.rejection import digit_score
from digitnet.runs import Found
from digitnet.sources import Unreadable


@pytest.fixture(scope="module")
def pixels(digit_files):
    """The files' pixels: (12, 28, 28) uint8."""
    return np.stack([np.asarray(Image.open(path)) for path in digit_files])


def assert_same(answers, expected):
    """Compare answers but for their paths; a batch of another size may round differently."""
    assert [answer.digit for answer in answers] == [answer.digit for answer in expected]
    for answer, other in zip(answers, expected, strict=True):
        assert answer.probs == pytest.approx(other.probs, abs=1e-6)


@pytest.fixture(scope="module")
def expected(classifier, digit_files):
    """The answers for the files, each asked for alone."""
    return [classifier.predict(path) for path in digit_files]


def test_an_answer_is_what_the_network_says_of_the_digit(classifier, digit_files, expected):
    for path, answer in zip(digit_files, expected, strict=True):
        image = torch.from_numpy(read_digit(path)).float().view(1, 1, 28, 28) / 255
        probs = (classifier.checkpoint.build()(image) / classifier.checkpoint.calibration.temperature).softmax(1)[0]
        assert answer.probs == pytest.approx(probs.tolist(), abs=1e-6)
        assert answer.digit == probs.argmax()
        assert answer.confidence == max(answer.probs)
        assert sum(answer.probs) == pytest.approx(1, abs=1e-5)
        assert answer.path == str(path)
    assert sum(f"is-{answer.digit}" in answer.path for answer in expected) >= 7  # it has learnt something


def test_in_bfloat16_answers_are_nearly_the_same(classifier, digit_files, expected):
    coarse = Classifier.load(classifier.path, dtype=torch.bfloat16)
    answers = coarse.predict(digit_files)
    for answer, other in zip(answers, expected, strict=True):
        assert answer.probs == pytest.approx(other.probs, abs=0.02)
    assert [answer.probs for answer in answers] != [other.probs for other in expected]  # and in no other type


def test_an_opened_photo_is_turned_by_its_exif_tag_as_a_file_is(classifier, digit_files, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    with Image.open(digit_files[0]) as picture:
        picture.resize((56, 84)).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    with Image.open(tmp_path / "turned.jpg") as opened:
        assert classifier.predict(opened).probs == classifier.predict(tmp_path / "turned.jpg").probs


def test_many_paths_get_the_answers_of_each_in_order(classifier, digit_files, expected):
    assert_same(classifier.predict(digit_files), expected)
    assert_same(classifier.predict(tuple(str(path) for path in reversed(digit_files))), expected[::-1])
    assert [answer.path for answer in classifier.predict(digit_files)] == [str(path) for path in digit_files]


FORMS = {
    "PIL": Image.fromarray,
    "PIL in colour": lambda image: Image.fromarray(image).convert("RGB"),
    "uint8": lambda image: image,
    "int64": lambda image: image.astype(np.int64),
    "float32": lambda image: image.astype(np.float32) / 255,
    "float16": lambda image: (image.astype(np.float32) / 255).astype(np.float16),
    "RGB": lambda image: np.stack([image] * 3, axis=-1),
    "tensor": torch.tensor,
    "tensor with a channel": lambda image: torch.tensor(image)[None],
    "tensor in colour": lambda image: torch.tensor(image).expand(3, 28, 28),
    "tensor with a gradient": lambda image: (torch.tensor(image) / 255).requires_grad_(),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_form_gets_the_same_answer_alone_and_among_others(classifier, pixels, expected, form):
    pictures = [form(image) for image in pixels]
    assert_same([classifier.predict(picture) for picture in pictures], expected)
    answers = classifier.predict(pictures)
    assert_same(answers, expected)
    assert all(answer.path is None for answer in answers)


STACKS = {
    "array": lambda images: images,
    "array in colour": lambda images: np.stack([images] * 3, axis=-1),
    "tensor": lambda images: torch.tensor(images)[:, None],
    "tensor in colour": lambda images: torch.tensor(images)[:, None].expand(-1, 3, -1, -1),
    "floats": lambda images: torch.tensor(images)[:, None] / 255,
}


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_a_stack_is_many(classifier, pixels, expected, stack):
    assert_same(classifier.predict(stack(pixels)), expected)
    assert_same(classifier.predict(stack(pixels[:1])), expected[:1])


def test_forms_can_be_mixed(classifier, pixels, digit_files, expected):
    mixed = [digit_files[0], pixels[1], torch.tensor(pixels[2])[None], Image.fromarray(pixels[3])]
    assert_same(classifier.predict(mixed), expected[:4])


def test_more_than_a_batch_is_answered_in_order(classifier, pixels, expected):
    many = [pixels[i % 12] for i in range(BATCH_SIZE + 20)]
    assert_same(classifier.predict(many), [expected[i % 12] for i in range(BATCH_SIZE + 20)])
    assert classifier.predict([]) == []


def test_black_on_white_of_any_size_is_read_too(classifier, pixels):
    large = [Image.fromarray(255 - image).resize((112, 112), Image.Resampling.BICUBIC) for image in pixels]
    assert [classifier.predict(picture).digit for picture in large] == [
        answer.digit for answer in classifier.predict([np.asarray(picture) for picture in large])
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros(28, np.uint8),
        np.zeros((2, 3, 28, 28), np.uint8),
        np.zeros((0, 0), np.uint8),
        torch.zeros(2, 28, 28),
        torch.zeros(1, 2, 28, 28),
        np.full((28, 28), 1.5),
        np.full((28, 28), -0.1),
        np.full((28, 28), np.nan),
        np.full((28, 28), 256),
        np.full((28, 28), -1),
        [np.zeros((3, 28, 28), np.uint8)],
        [np.zeros((2, 28, 28), np.uint8)],
        [torch.zeros(2, 1, 28, 28)],
        [np.zeros(28, np.uint8)],
    ],
    ids=lambda wrong: f"{type(wrong).__name__}-{getattr(wrong, 'shape', '')}",
)
def test_a_wrong_shape_or_range_is_a_value_error(classifier, wrong):
    with pytest.raises(ValueError, match=r"expected|zero-size"):
        classifier.predict(wrong)


@pytest.mark.parametrize("wrong", [None, 3, [3], [None], {"a.png"}], ids=str)
def test_what_is_no_picture_is_a_type_error(classifier, wrong):
    with pytest.raises(TypeError):
        classifier.predict(wrong)


def test_a_missing_picture_is_a_picture_error(classifier, tmp_path):
    with pytest.raises(PictureError, match="gone"):
        classifier.predict(tmp_path / "gone.png")


def test_top_names_the_likeliest_first(expected):
    top = expected[0].top(10)
    assert [digit for digit, _ in sorted(top)] == list(range(10))
    assert [prob for _, prob in top] == sorted(expected[0].probs, reverse=True)
    assert expected[0].top(1) == [(expected[0].digit, expected[0].confidence)]


def test_of_two_equal_digits_the_digit_is_the_first_of_the_top():
    answer = Prediction(path=None, digit=2, confidence=0.5, probs=(0.0, 0.0, 0.5, 0.5, *[0.0] * 6), score=1.0)
    assert answer.top(1) == [(2, 0.5)]


def test_an_unreadable_file_takes_its_place_among_the_others(classifier, digit_files, expected, tmp_path):
    text = tmp_path / "text.png"
    text.write_text("not a picture")
    files = [*digit_files[:5], text, *digit_files[5:], tmp_path / "gone.png"]
    answers = list(classifier.predict_files(files))
    assert [answer.path for answer in answers] == [str(path) for path in files]
    faults = [answer for answer in answers if isinstance(answer, Unreadable)]
    assert [fault.path for fault in faults] == [str(text), str(tmp_path / "gone.png")]
    assert "is not a picture" in faults[0].error
    assert_same([answer for answer in answers if isinstance(answer, Prediction)], expected)


def test_only_unreadable_files_and_no_files_at_all(classifier, tmp_path):
    (fault,) = classifier.predict_files([tmp_path / "gone.png"])
    assert isinstance(fault, Unreadable)
    assert list(classifier.predict_files([])) == []


@pytest.mark.timeout(30)
def test_an_endless_list_is_answered_as_it_comes(classifier, digit_files, expected):
    taken = count()
    answers = classifier.predict_files(digit_files[next(taken) % 12] for _ in count())
    first = [next(answers) for _ in range(24)]
    assert_same(first, expected * 2)
    assert next(taken) <= 2 * BATCH_SIZE  # and reads little ahead
    answers.close()


@pytest.mark.timeout(30)
def test_where_the_list_may_keep_us_waiting_all_before_is_answered_first(classifier, digit_files, expected):
    answered = []

    def listed():
        for number, path in enumerate(digit_files):
            yield path
            yield None
            assert len(answered) == number + 1  # or the next path would never come

    for answer in classifier.predict_files(listed()):
        answered.append(answer)  # noqa: PERF402 (the list is looked at meanwhile)
    assert_same(answered, expected)


def test_large_files_are_read_in_threads_and_stay_in_their_place(
    classifier, digit_files, expected, tmp_path, monkeypatch
):
    readers = {}

    def noted(path):
        readers[path] = threading.current_thread()
        return read_prepared(path)

    monkeypatch.setattr(predictor, "read_prepared", noted)
    mixed = list(digit_files)
    for index in (0, 3, 4, 11):  # the same pictures, with so much after their end
        mixed[index] = tmp_path / digit_files[index].name
        mixed[index].write_bytes(digit_files[index].read_bytes() + bytes(predictor.SMALL_BYTES))
    answers = list(classifier.predict_files(mixed))
    assert [answer.path for answer in answers] == [str(path) for path in mixed]
    assert_same(answers, expected)
    in_threads = {path for path, thread in readers.items() if thread is not threading.main_thread()}
    assert in_threads == set(mixed) - set(digit_files)


def test_from_python_a_run_is_loaded_by_its_folder_and_its_file(run_folder, digit_files, expected):
    for reference in (run_folder, str(run_folder / "best.safetensors")):
        assert_same([digitnet.load(reference).predict(digit_files[0])], expected[:1])
    with pytest.raises(CheckpointError, match="no checkpoint at gone"):
        digitnet.load("gone")


def test_from_python_the_network_that_ships_is_loaded_by_default(digit_files):
    answers = digitnet.load().predict(digit_files)
    assert [f"is-{answer.digit}.png" in answer.path for answer in answers].count(True) >= 11


# What is turned away.


@pytest.mark.parametrize("rate", [0.0, 0.01, 1.0])
def test_a_blank_picture_is_turned_away_at_any_rate(classifier, digit_files, tmp_path, rate):
    Image.new("L", (40, 60), 250).save(tmp_path / "blank.png")
    for blank in (np.zeros((28, 28), np.uint8), Image.new("RGB", (9, 9), "white"), tmp_path / "blank.png"):
        answer = classifier.predict(blank, reject_rate=rate)
        assert (answer.accepted, answer.reason, answer.digit, answer.score) == (False, "blank", None, None)
        assert answer.confidence == max(answer.probs) == min(answer.probs)
        assert sum(answer.probs) == pytest.approx(1)
        assert answer.top(3) == []
    files = [digit_files[0], tmp_path / "blank.png", digit_files[1]]
    answers = list(classifier.predict_files(files, reject_rate=rate))
    assert [answer.path for answer in answers] == [str(path) for path in files]
    assert [answer.reason == "blank" for answer in answers] == [False, True, False]


def test_a_score_under_the_threshold_is_no_digit(classifier, digit_files):
    answers = classifier.predict(digit_files)
    calibration = classifier.checkpoint.calibration
    images = torch.stack([torch.from_numpy(read_digit(path)) for path in digit_files]).float()[:, None] / 255
    scores = digit_score(classifier.checkpoint.build()(images) / calibration.temperature)
    assert [answer.score for answer in answers] == pytest.approx(scores.tolist(), rel=1e-5)
    for rate in (0.01, 0.1, 0.5, 0.9):
        needed = calibration.thresholds.score(rate)
        for answer in classifier.predict(digit_files, reject_rate=rate):
            assert answer.accepted == (answer.score >= needed)
            assert answer.reason == (None if answer.accepted else "not a digit")
            assert answer.digit is not None  # what it would have been is said all the same


def test_nothing_is_turned_away_at_0_and_everything_at_1(classifier, digit_files):
    noise = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)
    assert all(answer.accepted for answer in classifier.predict([*digit_files, *noise], reject_rate=0))
    assert not any(answer.accepted for answer in classifier.predict([*digit_files, *noise], reject_rate=1))


@pytest.mark.parametrize(("rate", "reason"), [(0, None), (0.01, "several digits"), (1, "several digits")])
def test_several_digits_are_turned_away_unless_nothing_is(classifier, digit_files, monkeypatch, rate, reason):
    def several(path):
        return Prepared(pixels=read_digit(path), objection="several digits")

    monkeypatch.setattr(predictor, "read_prepared", several)
    assert classifier.predict(digit_files[0], reject_rate=rate).reason == reason
    (answer,) = classifier.predict_files(digit_files[:1], reject_rate=rate)
    assert answer.reason == reason


@pytest.mark.parametrize("rate", [-0.1, 1.5, float("nan")])
def test_a_rate_that_is_none_is_a_value_error(classifier, digit_files, rate):
    with pytest.raises(ValueError, match="from 0 to 1"):
        classifier.predict(digit_files[0], reject_rate=rate)


def test_of_the_digits_kept_from_training_the_share_asked_for_is_turned_away(classifier):
    from digitnet.data.load import load_training

    validation = load_training("strokes", size=900)[1]
    for rate in (0.01, 0.1, 0.5):
        rejected = [not answer.accepted for answer in classifier.predict(validation.images, reject_rate=rate)]
        # In training they were scored in bf16 where the hardware has it: an image on the threshold may cross it.
        assert np.mean(rejected) == pytest.approx(rate, abs=0.03)


def test_drawings_that_are_no_digits_are_told_from_digits_by_the_network_that_ships(digit_files):
    shipped = digitnet.load()
    rng = np.random.default_rng(0)
    noise = [Image.fromarray(image).resize((28, 28)) for image in rng.integers(0, 256, (30, 5, 5), dtype=np.uint8)]
    assert sum(answer.accepted for answer in shipped.predict(digit_files)) >= 10
    assert sum(answer.accepted for answer in shipped.predict(noise)) <= 15


def test_weights_that_make_no_numbers_are_said_to_be_damaged(classifier):
    state = classifier.model.state_dict()
    weights = {name: torch.full_like(t, 3e38) if "weight" in name else t for name, t in state.items()}
    broken = Classifier(replace(classifier.checkpoint, state=weights), Found(path=Path("best"), name="run"))
    with pytest.raises(CheckpointError, match="best: its weights are damaged: what it answers is not finite"):
        broken.predict(np.full((28, 28), 200, np.uint8) * np.eye(28, dtype=np.uint8))
