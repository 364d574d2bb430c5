"""Adapting learns a hand, forgets little, and says of both no more than pictures that were kept out of it show."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from digitnet import adapting
from digitnet.adapting import (
    AdaptResult,
    FoldResult,
    Reading,
    TuneStep,
    adapt,
    blend,
    describe,
    fold_indices,
    mix,
    save_adapted,
)
from digitnet.calibration import fit_calibration
from digitnet.checkpoint import load_checkpoint
from digitnet.config import TrainConfig
from digitnet.data.digits import Digits, fingerprint
from digitnet.data.load import load_training
from digitnet.data.order import CPU
from digitnet.data.strokes import draw_strokes
from digitnet.errors import CheckpointError
from digitnet.metrics import Metrics
from digitnet.recipes import ADAPT
from digitnet.runs import PRETRAINED, find_checkpoint

WEIGHT = "head.dense1.weight"
RULE = TrainConfig(**{**ADAPT, "batch_size": 64}, steps=60, learning_rate=1e-2, device="cpu", precision="fp32")


def make_digits(images, targets):
    return Digits(name="hand", images=images, targets=targets, fingerprint=fingerprint(images, targets))


@pytest.fixture(scope="module")
def checkpoint(run_folder):
    """A network that was trained on upright strokes."""
    return load_checkpoint(run_folder / "best.safetensors")


@pytest.fixture(scope="module")
def rehearsal():
    """Its training and validation digits."""
    return load_training("strokes", size=900)


@pytest.fixture(scope="module")
def hand():
    """Forty digits of somebody who writes them turned by 90 degrees."""
    images, targets = draw_strokes(40, seed=3)
    return make_digits(images.rot90(1, (2, 3)).contiguous(), targets)


def fine_tuned(*arguments):
    """Return the network of a fine-tune, which says in between how far it is."""
    steps = adapting._fine_tune(*arguments, 1, 4)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def adapt_fully(*arguments):
    """Adapt at the cost of all other hands: the small network is bad at reading two at a time."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"OWN_SHARE": 0.5, "SHARES": (1.0,), "SLACK": 1}.items():
            patch.setattr(adapting, name, value)
        return [result for result in adapt(*arguments, RULE, CPU) if not isinstance(result, TuneStep)]


@pytest.fixture(scope="module")
def results(checkpoint, hand, rehearsal):
    return adapt_fully(checkpoint, hand, *rehearsal)


def test_a_hand_is_learnt(results, hand):
    *folds, result = results
    assert result.folds == tuple(folds)
    assert [(fold.fold, fold.folds, fold.count) for fold in folds] == [(1, 3, 14), (2, 3, 13), (3, 3, 13)]
    assert result.pictures == len(hand)
    assert result.before + 5 < result.after <= result.learnt  # it reads pictures that it has not learnt, too


def test_before_is_what_the_network_made_of_each_picture(results, hand, classifier, rehearsal):
    def right(digits):
        return int((classifier.probabilities(digits.images).argmax(1) == digits.targets).sum())

    assert results[-1].before == right(hand)
    assert results[-1].validation_before.correct == right(rehearsal[1])


def test_each_picture_has_what_it_was_read_as(results, hand, classifier):
    *folds, result = results
    assert [reading.label for reading in result.readings] == hand.targets.tolist()
    read = classifier.probabilities(hand.images).argmax(1).tolist()
    assert [reading.before for reading in result.readings] == read
    assert sum(reading.after == reading.label for reading in result.readings) == sum(fold.after for fold in folds)
    assert sum(reading.misread for reading in result.readings) >= len(hand) - min(result.before, result.after)


@pytest.mark.parametrize(("before", "after", "misread"), [(7, 7, False), (1, 7, True), (7, 1, True), (1, 1, True)])
def test_a_picture_is_misread_that_is_so_before_or_after(before, after, misread):
    assert Reading(label=7, before=before, after=after).misread == misread


def test_how_far_the_fine_tunes_are_is_said_from_the_first_to_the_last(checkpoint, hand, rehearsal):
    steps = [
        result
        for result in adapt(checkpoint, hand, *rehearsal, replace(RULE, steps=3), CPU)
        if isinstance(result, TuneStep)
    ]
    assert [(step.network, step.step) for step in steps] == [(n, k) for n in (1, 2, 3, 4) for k in (1, 2, 3)]
    assert {(step.networks, step.steps) for step in steps} == {(4, 3)}


def test_the_network_that_was_adapted_stays_as_it_was(results, checkpoint, run_folder):
    for name, tensor in load_checkpoint(run_folder / "best.safetensors").state.items():
        assert torch.equal(checkpoint.state[name], tensor)
    assert not torch.equal(results[-1].model.state_dict()[WEIGHT], checkpoint.state[WEIGHT])


def test_labels_without_sense_are_learnt_by_heart_and_read_no_better(checkpoint, hand, rehearsal):
    """The trap of judging by the pictures that were learnt."""
    targets = torch.arange(40) // 4
    senseless = make_digits(hand.images, targets[torch.randperm(40, generator=torch.Generator().manual_seed(1))])
    *_, result = adapt_fully(checkpoint, senseless, *rehearsal)
    assert result.after <= 12  # four of forty by chance
    assert result.learnt >= result.after + 5


def test_the_same_seed_gives_the_same_network(checkpoint, hand, rehearsal):
    first, again, other = (
        list(adapt(checkpoint, hand, *rehearsal, replace(RULE, steps=3, seed=seed), CPU)) for seed in (0, 0, 1)
    )
    assert first[:-1] == again[:-1]
    for name, tensor in again[-1].model.state_dict().items():
        assert torch.equal(tensor, first[-1].model.state_dict()[name])
    assert not torch.equal(other[-1].model.state_dict()[WEIGHT], again[-1].model.state_dict()[WEIGHT])


def different(count):
    """Make so many images, no two of them the same: each is of another grey."""
    return torch.arange(count, dtype=torch.uint8).view(count, 1, 1, 1).expand(count, 1, 28, 28)


@pytest.mark.parametrize("labels", [[3, 8], [1, 1, 2], list(range(10)), [7] * 23 + [1] * 4 + [0] * 11])
def test_each_picture_is_kept_out_once_with_others_of_its_digit_left(labels):
    targets = torch.tensor(labels)
    folds = fold_indices(different(len(labels)), targets, seed=0)
    assert len(folds) == min(3, len(labels))
    assert torch.cat(folds).sort().values.tolist() == list(range(len(labels)))
    for digit in set(labels):
        counts = [int((targets[fold] == digit).sum()) for fold in folds]
        assert max(counts) - min(counts) <= 1


def test_which_pictures_come_together_follows_from_the_seed():
    targets = torch.arange(40) % 10
    first, again, other = (torch.cat(fold_indices(different(40), targets, seed)).tolist() for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize("seed", range(3))
def test_copies_of_a_picture_are_kept_out_together(seed):
    """Each of ten pictures is there twice, and one of them four times; another differs from it in one pixel."""
    picture = torch.tensor([*range(10), *range(10), 7, 7, 7])
    images = different(10)[picture].clone()
    images[-1, 0, 14, 14] = 255
    folds = fold_indices(images, picture % 2, seed)
    assert torch.cat(folds).sort().values.tolist() == list(range(23))
    places = {}
    for number, fold in enumerate(folds):
        for index in fold.tolist():
            places.setdefault(images[index].numpy().tobytes(), set()).add(number)
    assert len(places) == 11
    assert all(len(numbers) == 1 for numbers in places.values())
    counts = [len({images[index].numpy().tobytes() for index in fold.tolist()}) for fold in folds]
    assert max(counts) - min(counts) <= 1


def test_two_pictures_of_which_there_are_copies_make_two_parts():
    folds = fold_indices(different(2)[torch.tensor([0, 1, 0, 0])], torch.tensor([3, 8, 3, 3]), seed=0)
    assert sorted(fold.tolist() for fold in folds) == [[0, 2, 3], [1]]


def test_each_digit_of_the_hand_gets_the_same_share_of_the_mix():
    """Told by the images' grey: a picture's is its number from 100, an image's to rehearse its number."""
    greys = torch.arange(100, 105, dtype=torch.uint8)
    own = make_digits(greys.view(5, 1, 1, 1).expand(5, 1, 28, 28).clone(), torch.tensor([7, 7, 7, 7, 2]))
    train = make_digits(
        torch.arange(90, dtype=torch.uint8).view(90, 1, 1, 1).expand(90, 1, 28, 28).clone(), torch.arange(90) % 10
    )
    mixed = mix(own, train, 1000, seed=0)
    each = round(1000 * adapting.OWN_SHARE / 10)
    counts = Counter(mixed.images[:, 0, 0, 0].tolist())
    assert len(mixed) == 1000
    assert counts[104] == each
    assert sum(counts[grey] for grey in range(100, 104)) == each
    assert {counts[grey] for grey in range(100, 104)} <= {each // 4, each // 4 + 1}
    assert max(counts[grey] for grey in range(90)) - min(counts[grey] for grey in range(90)) == 1  # none is left out
    for grey, target in zip(mixed.images[:, 0, 0, 0].tolist(), mixed.targets.tolist(), strict=True):
        assert target == (grey % 10 if grey < 100 else own.targets[grey - 100])


def test_what_is_rehearsed_has_the_strokes_and_the_nondigits_that_the_network_was_trained_on(rehearsal):
    train, config = rehearsal[0], TrainConfig(steps=1, extra_strokes=300, nondigits=400)
    digits, nondigits = adapting.rehearsal(config, train, RULE, CPU)
    assert len(digits) == len(train) + 300
    assert torch.equal(digits.images[: len(train)], train.images)
    assert nondigits.shape == (round(400 / 1200 * 60 * 64), 1, 28, 28)
    digits, nondigits = adapting.rehearsal(TrainConfig(steps=1), train, RULE, CPU)
    assert torch.equal(digits.images, train.images)
    assert nondigits is None


def test_of_many_images_to_rehearse_each_is_taken_once(hand, rehearsal):
    train = replace(rehearsal[0], images=rehearsal[0].images[:600], targets=torch.arange(600))
    taken = mix(hand, train, 500, seed=0).targets[-200:]
    assert len(set(taken.tolist())) == 200


def test_a_blend_lies_between_the_networks(checkpoint):
    old, tuned = checkpoint.build(), checkpoint.build()
    with torch.no_grad():
        for parameter in tuned.parameters():
            parameter.add_(4)
    for name, parameter in blend(old, tuned, 0.75).named_parameters():
        torch.testing.assert_close(parameter.detach(), checkpoint.state[name] + 3)
    assert torch.equal(tuned.state_dict()["mean"], checkpoint.state["mean"])


@pytest.mark.parametrize(("slack", "share"), [(1, adapting.SHARES[0]), (-1, adapting.SHARES[-1])])
def test_the_weights_go_as_far_as_validation_allows(monkeypatch, checkpoint, hand, rehearsal, slack, share):
    monkeypatch.setattr(adapting, "SLACK", slack)
    *_, result = adapt(checkpoint, hand, *rehearsal, replace(RULE, steps=2), CPU)
    assert result.share == share
    tuned = fine_tuned(checkpoint, hand, rehearsal[0], None, replace(RULE, steps=2))
    expected = checkpoint.state[WEIGHT].lerp(tuned.state_dict()[WEIGHT], share)
    torch.testing.assert_close(result.model.state_dict()[WEIGHT], expected)


@pytest.mark.parametrize("taken", range(1, len(adapting.SHARES) - 1))
def test_the_first_share_is_taken_that_forgets_nothing(monkeypatch, checkpoint, hand, rehearsal, taken):
    """Of the six, each before the one that is to be taken forgets; those after it are not tried."""
    answers = iter([True] * taken + [False] + [True] * 9)
    monkeypatch.setattr(adapting, "_forgets", lambda *_: next(answers))
    rule = replace(RULE, steps=2)
    *_, result = adapt(checkpoint, hand, *rehearsal, rule, CPU)
    assert result.share == adapting.SHARES[taken]
    tuned = fine_tuned(checkpoint, hand, rehearsal[0], None, rule)
    model = blend(checkpoint.build(), tuned, adapting.SHARES[taken])
    torch.testing.assert_close(result.model.state_dict()[WEIGHT], model.state_dict()[WEIGHT])
    right = int((model(rehearsal[1].images / 255).argmax(1) == rehearsal[1].targets).sum())
    assert result.validation_after.correct == right


def test_what_is_validated_on_other_digits_than_the_networks_keeps_its_calibration(checkpoint, hand, rehearsal):
    """Strokes that stand in for MNIST: a temperature that was fitted to them would say nothing of MNIST."""
    rule = replace(RULE, steps=2)
    elsewhere = replace(checkpoint, record=replace(checkpoint.record, dataset="mnist", fingerprint="0123456789abcdef"))
    *_, kept = adapt(elsewhere, hand, *rehearsal, rule, CPU)
    assert kept.calibration == checkpoint.calibration
    *_, fitted = adapt(checkpoint, hand, *rehearsal, rule, CPU)
    expected = fit_calibration(fitted.model(rehearsal[1].images / 255).detach(), rehearsal[1].targets)
    assert fitted.calibration.temperature == pytest.approx(expected.temperature, rel=1e-3)
    assert fitted.calibration != checkpoint.calibration


def make_result(results, after, lost):
    """Make the result of 10 pictures, of which 6 were read right before, and of 5,000 images for validation."""

    def metrics(right):
        rows = [[0] * 10 for _ in range(10)]
        rows[0][0], rows[0][1] = right, 5000 - right
        return Metrics(loss=0.1, confusion=tuple(map(tuple, rows)))

    folds = tuple(
        FoldResult(fold=k, folds=2, count=5, before=3, after=part)
        for k, part in ((1, after // 2), (2, after - after // 2))
    )
    return AdaptResult(pictures=10, folds=folds, readings=(), learnt=10, share=0.5, validation_before=metrics(4900),
                       validation_after=metrics(4900 - lost), elapsed_s=1.0, model=results[-1].model,
                       calibration=results[-1].calibration)  # fmt: skip


@pytest.mark.parametrize(
    ("after", "lost", "forgets", "kept"),
    [
        (7, 0, False, True),
        (7, -9, False, True),
        (6, 0, False, False),
        (7, 5, False, True),
        (7, 6, True, False),
        (5, 0, False, False),
        (5, 6, True, False),
    ],
)
def test_kept_is_what_reads_the_hand_better_and_forgets_at_most_a_tenth_of_a_per_cent(
    results, after, lost, forgets, kept
):
    result = make_result(results, after, lost)
    assert (result.before, result.after) == (6, after)
    assert (result.forgets, result.kept) == (forgets, kept)


def test_a_network_that_ships_is_remembered_by_its_name_and_any_other_by_its_absolute_path(results, hand, rehearsal):
    def source(path):
        return describe(results[-1], path, hand, rehearsal[0], RULE).source

    for name in PRETRAINED:
        assert source(find_checkpoint(name).path) == name
    for path in (Path("x/pretrained-cnn.safetensors"), Path("runs/../x/best.safetensors")):  # a person's own
        assert source(path) == str(Path.cwd().resolve() / "x" / path.name)


def test_a_network_remembers_what_it_was_adapted_to(tmp_path, results, checkpoint, hand, rehearsal, run_folder):
    result = results[-1]
    adaptation = describe(result, run_folder / "best.safetensors", hand, rehearsal[0], RULE)
    assert adaptation.source == str((run_folder / "best.safetensors").resolve())
    assert (adaptation.dataset, adaptation.size, adaptation.rehearsal) == ("hand", 40, "strokes")
    assert adaptation.held_out_accuracy == result.after / 40
    save_adapted(tmp_path / "new.safetensors", checkpoint, result, adaptation)
    new = load_checkpoint(tmp_path / "new.safetensors")
    assert new.record.adaptation == adaptation
    assert new.record.validation_accuracy == result.validation_after.accuracy
    assert (new.config, new.record.fingerprint) == (checkpoint.config, checkpoint.record.fingerprint)
    assert torch.equal(new.state[WEIGHT], result.model.state_dict()[WEIGHT])
    save_adapted(tmp_path / "bad.safetensors", checkpoint, result, replace(adaptation, size="many"))
    with pytest.raises(CheckpointError, match="size is 'many'"):
        load_checkpoint(tmp_path / "bad.safetensors")
