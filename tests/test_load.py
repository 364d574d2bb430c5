"""A name stands for one data set, and a training part comes with its validation images."""

import pytest
import torch
from conftest import save_png, write_part

from digitnet.data import load
from digitnet.data.load import add_strokes, load_digits, load_nondigits, load_training
from digitnet.data.nondigits import draw_nondigits
from digitnet.data.strokes import draw_strokes
from digitnet.errors import DataError


@pytest.fixture
def places_asked(monkeypatch):
    """Where MNIST was looked for."""
    asked = []
    monkeypatch.setattr(load, "load_mnist", lambda part, folder: asked.append((part, folder and str(folder))))
    return asked


def test_mnist_is_looked_for_where_the_option_says_then_the_environment(places_asked, monkeypatch, tmp_path):
    load_digits("mnist", "test")
    monkeypatch.setenv("DIGITNET_DATA_DIR", "from-environment")
    load_digits("mnist", "train")
    load_digits("mnist", "train", data_dir=tmp_path)
    assert places_asked == [("test", None), ("train", "from-environment"), ("train", str(tmp_path))]


def test_strokes_are_the_same_each_time_and_their_parts_differ():
    train, again, test = (load_digits("strokes", part, size=50) for part in ("train", "train", "test"))
    assert train.name == "strokes"
    assert torch.equal(train.images, again.images)
    assert train.fingerprint == again.fingerprint != test.fingerprint
    assert not any(torch.equal(image, other) for image in train.images for other in test.images)


def test_a_folder_is_named_by_its_path(tmp_path):
    write_part(tmp_path, "train", torch.ones(20, 28, 28), torch.arange(20) % 10)
    assert load_digits(str(tmp_path), "train").name == str(tmp_path)


@pytest.mark.parametrize("size", [1, 8, 9, 10, 899, 900, 901, 45_001])
def test_of_strokes_as_many_are_drawn_as_asked_for(size, monkeypatch):
    def draw_nothing(count, seed):
        assert seed == load.STROKES_SEEDS["train"]
        return torch.zeros(count, 1, 28, 28, dtype=torch.uint8), torch.arange(count) % 10

    monkeypatch.setattr("digitnet.data.strokes.draw_strokes", draw_nothing)
    train, validation = load_training("strokes", size=size)
    assert len(train) == size
    assert len(validation) >= min(size / 10, 5_000)
    assert train.split_hash == validation.split_hash is not None


@pytest.mark.parametrize(("size", "expected"), [(None, 27), (27, 27), (5, 5)])
def test_of_other_sets_so_many_are_kept(tmp_path, size, expected):
    write_part(tmp_path, "train", torch.arange(30)[:, None, None].expand(30, 28, 28), torch.arange(30) % 10)
    train, validation = load_training(str(tmp_path), size=size)
    assert (len(train), len(validation)) == (expected, 3)


def test_more_images_than_there_are_is_an_error_that_says_how_many_there_are(tmp_path):
    write_part(tmp_path, "train", torch.ones(30, 28, 28), torch.arange(30) % 10)
    with pytest.raises(DataError, match="has 27 images to train on beside those for validation, not 28"):
        load_training(str(tmp_path), size=28)


def test_too_few_to_train_on_is_an_error(tmp_path):
    save_png(tmp_path / "1" / "one.png", load_digits("strokes", "train", size=1).images[0, 0])
    with pytest.raises(DataError, match="1 digits are too few to train on"):
        load_training(str(tmp_path))


def test_strokes_are_added_behind_the_digits_which_keep_their_name():
    train, _ = load_training("strokes", size=90)
    before = train.images.clone()
    both = add_strokes(train, 30)
    assert len(both) == 120
    assert torch.equal(both.images[:90], train.images)
    assert torch.equal(both.targets[:90], train.targets)
    images, targets = draw_strokes(30, seed=load.EXTRA_SEED)
    assert torch.equal(both.images[90:], images)
    assert torch.equal(both.targets[90:], targets)
    assert (both.name, both.fingerprint, both.split_hash) == (train.name, train.fingerprint, train.split_hash)
    assert (len(train), torch.equal(train.images, before)) == (90, True)


def test_what_is_added_is_of_a_stream_of_its_own():
    assert load.EXTRA_SEED not in load.STROKES_SEEDS.values()  # or a test would be on what trained the network


def test_nondigits_are_drawn_from_the_digits_given():
    train, _ = load_training("strokes", size=90)
    images = load_nondigits(train, 50)
    assert torch.equal(images, draw_nondigits(50, train.images, train.targets, seed=load.EXTRA_SEED))


def test_an_unknown_name_says_what_there_is():
    with pytest.raises(DataError, match="mnits: there is no such data set: expected mnist, strokes or a folder"):
        load_digits("mnits", "train")


def test_more_strokes_than_fit_into_the_memory_are_not_drawn():
    with pytest.raises(DataError, match="of strokes, at most 2,000,000 digits can be drawn, not 1,000,000,000"):
        load_training("strokes", size=10**9)
