"""Tar shards as a data set: unpacked once, mapped, and trained on with nothing of it held whole."""

import io
import json
import logging
import sys
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import run_python, save_png
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from test_cli import fail, invoke

from digitnet.config import SHUFFLE_WINDOW, MLPConfig, TrainConfig
from digitnet.data import load, shard_set
from digitnet.data.digits import Digits
from digitnet.data.flat import Mapped
from digitnet.data.load import add_strokes, load_digits, load_nondigits, load_training
from digitnet.data.shard_set import spread
from digitnet.data.stage import Stage
from digitnet.data.strokes import draw_strokes
from digitnet.doctor.files import check_cache
from digitnet.engine import fit
from digitnet.errors import DataError, UsageError
from digitnet.models import build_model
from digitnet.progress import StateResult
from digitnet.runs import CONFIG, read_config
from digitnet.state import TrainingState

IMAGES, TARGETS = draw_strokes(60, seed=11)


def png(image):
    stream = io.BytesIO()
    Image.fromarray(np.asarray(image)).save(stream, "PNG")
    return stream.getvalue()


def samples(start, stop):
    """Make the members of digits start to stop; the label comes first in every other one."""
    members = []
    for i in range(start, stop):
        pair = [(f"{i:06}.png", png(IMAGES[i, 0])), (f"{i:06}.cls", b"%d\n" % TARGETS[i])]
        members += pair if i % 2 else pair[::-1]
    return members


def write_shard(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def write_set(folder, count=60, per_shard=25):
    for first in range(0, count, per_shard):
        write_shard(folder / f"digits-{first // per_shard:06}.tar", samples(first, min(first + per_shard, count)))
    return str(folder)


@pytest.fixture
def dataset(tmp_path):
    return write_set(tmp_path / "set")


@pytest.fixture(autouse=True)
def quiet(caplog):
    """Keep what is said of unpacking for the tests that look at it."""
    caplog.set_level(logging.WARNING)


def as_set(images, targets):
    return sorted((image.numpy().tobytes(), int(target)) for image, target in zip(images, targets, strict=True))


def test_a_set_is_what_its_shards_hold(dataset):
    digits = load_digits(dataset, "train")
    assert as_set(digits.images, digits.targets) == as_set(IMAGES, TARGETS)
    assert (digits.name, digits.mapped, digits.images.dtype) == (dataset, True, torch.uint8)
    assert digits.targets.dtype == torch.int64
    assert load_digits(dataset, "test").fingerprint == digits.fingerprint  # as of a folder without a test part


def test_it_is_unpacked_a_few_at_a_time(dataset, cache_folder, monkeypatch):
    whole = load_digits(dataset, "train")
    (path,) = cache_folder.glob("shards-*/")
    path.rename(cache_folder / "elsewhere")
    held, stack = [], np.stack
    monkeypatch.setattr(np, "stack", lambda images: held.append(len(images)) or stack(images))
    monkeypatch.setattr(shard_set, "PACKED_AT_ONCE", 7)
    digits = load_digits(dataset, "train")
    assert held == [7] * 8 + [4]
    assert torch.equal(digits.images, whole.images)
    assert torch.equal(digits.targets, whole.targets)
    assert digits.fingerprint == whole.fingerprint


def test_it_is_cut_at_places_all_over_it_and_the_rest_keeps_its_order(dataset):
    train, validation = load_training(dataset)
    kept = spread(60, 6)
    assert as_set(validation.images, validation.targets) == as_set(IMAGES[kept], TARGETS[kept])
    assert not validation.mapped
    both = torch.cat([train.images, validation.images]), torch.cat([train.targets, validation.targets])
    assert as_set(*both) == as_set(IMAGES, TARGETS)
    assert (len(train), train.mapped, train.split_hash) == (54, True, validation.split_hash)
    places = [i for i in range(54) if i not in kept.tolist()]
    assert torch.equal(train.images[places], IMAGES[places])


@given(st.integers(0, 20_000), st.data())
def test_places_are_one_of_each_stretch(count, data):
    size = data.draw(st.integers(0, count))
    places = spread(count, size).tolist()
    assert len(places) == size
    for i, place in enumerate(places):
        assert i * count // size <= place < (i + 1) * count // size
    assert places == spread(count, size).tolist()


def test_so_many_are_kept_as_asked_for(dataset):
    few, validation = load_training(dataset, size=20)
    whole, same = load_training(dataset)
    assert (len(few), few.mapped) == (20, True)
    assert torch.equal(few.images, whole.images[spread(54, 20)])
    assert torch.equal(few.targets, whole.targets[spread(54, 20)])
    assert torch.equal(validation.images, same.images)
    with pytest.raises(DataError, match="has 54 images to train on beside those for validation, not 55"):
        load_training(dataset, size=55)


def test_parts_are_kept_apart(tmp_path):
    write_shard(tmp_path / "train" / "a.tar", samples(0, 40))
    write_shard(tmp_path / "test" / "a.tar", samples(40, 60))
    train, test = load_digits(str(tmp_path), "train"), load_digits(str(tmp_path), "test")
    assert as_set(train.images, train.targets) == as_set(IMAGES[:40], TARGETS[:40])
    assert as_set(test.images, test.targets) == as_set(IMAGES[40:], TARGETS[40:])
    assert load.has_test_part(str(tmp_path))


def test_a_test_part_alone_is_nothing_to_train_on(tmp_path):
    write_shard(tmp_path / "test" / "a.tar", samples(0, 5))
    with pytest.raises(DataError, match="only a test part is there, nothing to train on"):
        load_digits(str(tmp_path), "train")


def test_a_folder_of_pictures_may_hold_an_archive_too(tmp_path):
    save_png(tmp_path / "1" / "one.png", IMAGES[TARGETS == 1][0, 0])
    write_shard(tmp_path / "backup.tar", samples(0, 5))
    assert len(load_digits(str(tmp_path), "train")) == 1


def test_other_members_are_passed_over_and_keys_have_folders(tmp_path):
    other = [("./a/0.json", b"{}"), ("a/._0.png", b"junk"), ("a/0.png.txt", b"no picture"), ("README", b"none")]
    members = [("a/0.PNG", png(IMAGES[0, 0])), *other, ("a/0.cls", b"%d" % TARGETS[0]), *samples(1, 3)]
    write_shard(tmp_path / "a.tar", members)
    digits = load_digits(str(tmp_path), "train")
    assert as_set(digits.images, digits.targets) == as_set(IMAGES[:3], TARGETS[:3])


PNG = png(IMAGES[0, 0])
BLANK = png(np.zeros((28, 28), np.uint8))


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([("x/7.png", PNG)], r"b\.tar/x/7 has no label; expected one in x/7\.cls beside the picture"),
        ([("7.cls", b"7")], r"b\.tar/7\.cls: the picture that it labels is not beside it, such as 7\.png"),
        ([("7.png", PNG), ("8.cls", b"8"), ("7.cls", b"7")], r"b\.tar/7 has no label"),
        ([("7.png", PNG), ("7.jpg", PNG), ("7.cls", b"7")], r"b\.tar/7 is more than one picture with one label"),
        ([("7.png", PNG), ("7.cls", b"10")], r"b\.tar/7\.cls: expected a label from 0 to 9, found 10"),
        ([("7.png", PNG), ("7.cls", b"\x1b\xff")], r"b\.tar/7\.cls: expected a label from 0 to 9, found \\x1b"),
        ([("7.png", PNG), ("7.cls", b"")], r"b\.tar/7\.cls: expected a label from 0 to 9, found nothing"),
        ([("7.png", PNG[:60]), ("7.cls", b"7")], r"cannot read .*b\.tar/7\.png: the picture is damaged.*; mend or"),
        ([("7.png", b"text"), ("7.cls", b"7")], r"b\.tar/7\.png is not a picture that digitnet can read"),
        ([("7.png", BLANK), ("7.cls", b"7")], r"b\.tar/7\.png: .*; remove it, or take it again with the digit in it"),
    ],
)
def test_a_sample_that_cannot_be_used_is_named(tmp_path, cache_folder, members, said):
    write_shard(tmp_path / "a.tar", samples(0, 5))
    write_shard(tmp_path / "b.tar", [*samples(5, 8), *members])
    with pytest.raises(DataError, match=said):
        load_digits(str(tmp_path), "train")
    assert not [path for path in cache_folder.iterdir() if path.suffix != ".lock"]


def test_shards_without_samples_and_damaged_ones_are_errors(tmp_path):
    write_shard(tmp_path / "a.tar", [("README", b"none")])
    with pytest.raises(DataError, match=r"its shards hold no pictures with labels; expected KEY\.png beside KEY\.cls"):
        load_digits(str(tmp_path), "train")
    whole = write_shard(tmp_path / "a.tar", samples(0, 20))
    whole.write_bytes(whole.read_bytes()[:9_000])
    with pytest.raises(DataError, match=r"a\.tar is cut short"):
        load_digits(str(tmp_path), "train")


def test_too_few_to_train_on_is_an_error(tmp_path):
    with pytest.raises(DataError, match="9 digits are too few to train on"):
        load_training(write_set(tmp_path / "set", 9))


def test_shards_are_unpacked_once_which_is_said_and_again_when_they_change(dataset, monkeypatch, caplog, tmp_path):
    first = load_digits(dataset, "train")
    assert [message.split(" into ")[0] for message in caplog.messages] == [f"Unpacking the 3 shards of {dataset}"]
    pack = shard_set._pack
    monkeypatch.setattr(shard_set, "_pack", lambda *_: pytest.fail("unpacked again"))
    again = load_digits(dataset, "train")
    assert torch.equal(first.images, again.images)
    assert first.fingerprint == again.fingerprint
    monkeypatch.setattr(shard_set, "_pack", pack)
    write_shard(tmp_path / "set" / "digits-000002.tar", samples(50, 59))
    assert len(load_digits(dataset, "train")) == 59
    assert len(first.images) == 60  # which is mapped still


def test_a_fingerprint_sees_images_labels_and_order(tmp_path):
    members = samples(0, 20)
    others = [members, members[2:], members[2:] + members[:2], [("000000.cls", b"%d" % (9 - TARGETS[0])), *members[1:]]]
    prints = []
    for i, some in enumerate(others):
        write_shard(tmp_path / str(i) / "x" / "train" / "a.tar", some)
        prints.append(load_digits(str(tmp_path / str(i) / "x"), "train").fingerprint)
    assert len(set(prints)) == len(others)


@pytest.mark.parametrize("name", ["images.bin", "targets.bin", "shards.json"])
def test_what_is_damaged_in_the_cache_is_made_anew(dataset, cache_folder, name):
    load_digits(dataset, "train")
    (path,) = cache_folder.glob(f"*/{name}")
    path.write_bytes(path.read_bytes()[:20])
    digits = load_digits(dataset, "train")
    assert as_set(digits.images, digits.targets) == as_set(IMAGES, TARGETS)


def test_the_doctor_knows_it(dataset, cache_folder):
    load_digits(dataset, "train")
    assert check_cache("cache").found.startswith("1 data set, whole")
    (path,) = cache_folder.glob("*/images.bin")
    path.write_bytes(b"short")
    assert "cannot be read" in check_cache("cache").found


def test_a_cache_without_room_is_an_error(dataset, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DIGITNET_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"no set can be unpacked there: .*; name a folder with room by DIGITNET_CACHE"):
        load_digits(dataset, "train")


def test_strokes_are_not_added_and_drawings_are_made_from_some(dataset, monkeypatch):
    train, _ = load_training(dataset)
    with pytest.raises(UsageError, match="a set of shards, to which no strokes are added; give --extra-strokes 0"):
        add_strokes(train, 5)
    assert add_strokes(train, 0) is train
    monkeypatch.setattr(load, "MOST_TURNED", 10)
    monkeypatch.setattr("digitnet.data.nondigits.draw_nondigits", lambda count, images, *_, **__: (count, len(images)))
    assert load_nondigits(train, 7) == (7, 10)


def test_images_are_brought_to_a_device_where_they_are_not():
    digits = Digits(name="", images=IMAGES, targets=TARGETS, fingerprint="", announce=lambda *_: None)
    stage = Stage(digits, 8, torch.device("cpu"))
    assert digits.to(torch.device("meta")) is digits
    where = stage.digits.images.data_ptr()
    for batch in (torch.tensor([3, 1, 59]), torch.arange(8), torch.tensor([7])):
        places = stage.bring(batch)
        assert torch.equal(stage.digits.images[places], IMAGES[batch])
        assert torch.equal(stage.digits.targets[places], TARGETS[batch])
    assert stage.digits.images.data_ptr() == where


RULE = TrainConfig(epochs=2, batch_size=200, shuffle_window=1_024, augment="affine", optimizer="sgd", momentum=0.9)


def train(digits, validation, resume=None):
    """Train; return the weights, and the states by step."""
    torch.manual_seed(0)
    model, states = build_model(MLPConfig(hidden_sizes=(8,))), {}
    for result in fit(model, digits, validation, RULE, resume=resume, save_due=lambda _: True):
        if isinstance(result, StateResult):
            tensors = {name: tensor.clone() for name, tensor in result.state.tensors.items()}
            states[result.state.position.step] = TrainingState(position=result.state.position, tensors=tensors)
    return torch.cat([parameter.flatten() for parameter in model.parameters()]), states


@pytest.fixture(scope="module")
def larger():
    images, targets = draw_strokes(2_500, seed=5)
    return Digits(name="", images=images, targets=targets, fingerprint="")


def test_training_by_windows_goes_on_from_any_step_to_the_same_weights(larger):
    few = larger.take(torch.arange(50))
    weights, states = train(larger, few)
    assert len(states) == 2 * 13 + 1
    for step in (0, 1, 5, 6, 12, 13, 20, 25):
        assert torch.equal(train(larger, few, states[step])[0], weights), step


def test_of_a_batch_that_is_shared_the_part_is_brought(larger):
    stage, batch = Stage(larger, 10, torch.device("cpu")), torch.arange(100, 109)
    stage.digits.images.zero_()
    places = stage.bring(batch, lambda items: items.tensor_split(2)[1])
    assert torch.equal(stage.digits.images[places][5:], larger.images[batch][5:])
    assert not stage.digits.images[:5].any()


def test_batches_that_are_brought_train_the_same_weights(larger, monkeypatch):
    few = larger.take(torch.arange(50))
    expected, states = train(larger, few)
    brought = []
    bring = Stage.bring
    monkeypatch.setattr(
        Stage, "bring", lambda self, batch, share: brought.append(len(batch)) or bring(self, batch, share)
    )
    monkeypatch.setattr(Digits, "device", torch.device("meta"))  # anywhere but where the network is
    assert torch.equal(train(larger, few)[0], expected)
    assert sum(brought) == 2 * 2_500
    assert torch.equal(train(larger, few, states[7])[0], expected)


TRAIN = ("train", "--model", "mlp", "--preset", "fast", "--hidden-sizes", "8", "--device", "cpu")


def test_the_command_trains_on_shards_by_windows_and_says_so_in_the_configuration(dataset):
    command = (*TRAIN, "--dataset", dataset, "--epochs", "2", "--name", "mine")
    invoke(*command)
    config = read_config(load.Path("checkpoints") / "mine" / CONFIG)
    assert config.train.shuffle_window == SHUFFLE_WINDOW
    assert "has ended" in invoke(*command, "--resume", "auto").stderr  # the same command, typed again
    said = fail(*command, "--resume", "auto", "--shuffle-window", "2048", code=2)
    assert f"its shuffle_window is {SHUFFLE_WINDOW}, not 2048" in said
    report = json.loads(invoke("eval", "--checkpoint", "mine", "--dataset", dataset, "--json").stdout)
    assert (report["count"], report["split"]) == (6, "validation")  # what trained it is left out


def test_a_window_is_for_any_set_and_holds_a_block():
    invoke(
        *TRAIN,
        "--dataset",
        "strokes",
        "--train-size",
        "1100",
        "--epochs",
        "1",
        "--name",
        "w",
        "--shuffle-window",
        "1024",
    )
    assert read_config(load.Path("checkpoints") / "w" / CONFIG).train.shuffle_window == 1_024
    assert "shuffle_window must be at least 1024, not 1023" in fail(*TRAIN, "--shuffle-window", "1023", code=2)


def test_what_a_window_holds_is_announced_as_it_begins(larger):
    few, announced, asked, ahead = larger.take(torch.arange(50)), [], [], []

    class Watched(torch.Tensor):
        def __getitem__(self, places):
            asked.append(places.tolist())
            ahead.append(len(announced))
            assert {place for start, stop in announced for place in range(start, stop)} >= set(asked[-1])
            return self.as_subclass(torch.Tensor)[places]

    watched = replace(
        larger,
        images=larger.images.as_subclass(Watched),
        announce=lambda start, stop: announced.append((start, stop)),
    )
    train(watched, few)
    assert sum(map(len, asked)) == 2 * 2_500
    assert ahead[0] == 1
    assert sorted(announced) == sorted([(0, 1_024), (1_024, 2_048), (2_048, 2_500)] * 2)


def test_what_is_announced_is_read(dataset):
    digits = load_digits(dataset, "train")
    for start, stop in ((0, 60), (59, 60), (7, 8), (20, 20)):
        digits.announce(start, stop)
    assert as_set(digits.images, digits.targets) == as_set(IMAGES, TARGETS)


def test_what_looks_here_and_there_reads_no_more_than_that(dataset, monkeypatch):
    announced = []
    announce = Mapped.announce
    monkeypatch.setattr(Mapped, "announce", lambda self, *places: announced.append(places) or announce(self, *places))
    load_digits(dataset, "test")
    assert announced == []  # to evaluate, all is read in its order
    load_training(dataset)
    assert set(announced) == {(0, 0)}


CAPPED = """
import resource, sys
from pathlib import Path
import torch
from digitnet.config import MLPConfig, TrainConfig
from digitnet.data.load import load_training
from digitnet.engine import fit
from digitnet.models import build_model
from digitnet.device import choose_device
torch.set_num_threads(1)
model = build_model(MLPConfig(hidden_sizes=(), activation="identity"))
taken = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData"))
limit = int(taken.split()[1]) * 1024 + int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
train, validation = load_training(sys.argv[1])
model.set_normalisation(train.images)
rule = TrainConfig(epochs=1, batch_size=2_000, shuffle_window=10_000, optimizer="sgd", learning_rate=0.1)
*_, last = fit(model, train, validation, rule)
print(len(train), last.step)
try:
    train.images.clone()
    print("fits")
except RuntimeError as error:
    print("can't allocate memory" in str(error))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux counts what a process takes against this limit")
def test_a_set_that_does_not_fit_into_the_memory_is_trained_on(dataset, cache_folder):
    load_digits(dataset, "train")
    (place,) = cache_folder.glob("shards-*/")
    count = 250_000  # black images, in files with holes: to unpack so many would take a minute
    for name, size in (("images.bin", 784 * count), ("targets.bin", 8 * count)):
        with (place / name).open("r+b") as stream:
            stream.truncate(0)
            stream.truncate(size)
    (place / "shards.json").write_text(f'{{"count": {count}, "fingerprint": "f"}}')
    done = run_python("-c", CAPPED, dataset, 120_000_000)  # beside what Python and PyTorch take; the set has 196 MB
    assert (done.returncode, done.stdout, done.stderr) == (0, "245000 123\nTrue\n", "")
