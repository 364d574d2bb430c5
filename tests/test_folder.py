"""A folder of one's own is a data set: sub-folders of pictures, or IDX files of any size."""

import numpy as np
import pytest
import torch
from conftest import save_png, write_part
from PIL import Image

from digitnet.data.folder import load_folder
from digitnet.data.strokes import draw_strokes
from digitnet.errors import DataError
from digitnet.pictures import read_digit, to_digit

IMAGES, TARGETS = draw_strokes(30, seed=11)


def write_classes(folder, start, stop):
    """Write digits start to stop into sub-folders named by their class; return paths in the order of a listing."""
    pairs = zip(IMAGES[start:stop], TARGETS[start:stop].tolist(), strict=True)
    paths = [save_png(folder / str(target) / f"{i:02}.png", image[0]) for i, (image, target) in enumerate(pairs)]
    return sorted(paths)


def assert_holds(digits, paths):
    """Check that the digits are those of the files, in order, each read as `predict` would."""
    assert digits.targets.tolist() == [int(path.parent.name) for path in paths]
    assert digits.targets.dtype == torch.int64
    assert digits.images.shape == (len(paths), 1, 28, 28)
    for path, image in zip(paths, digits.images, strict=True):
        assert np.array_equal(image[0].numpy(), read_digit(path))


def test_sub_folders_0_to_9_are_both_parts(tmp_path):
    paths = write_classes(tmp_path, 0, 20)
    train, test = load_folder(tmp_path, "train"), load_folder(tmp_path, "test")
    assert_holds(train, paths)
    assert train.name == str(tmp_path)
    assert train.fingerprint == test.fingerprint  # by which eval knows that these trained the network


def test_other_files_and_folders_are_passed_over(tmp_path):
    paths = write_classes(tmp_path, 0, 10)
    save_png(tmp_path / "x" / "unsorted.png", IMAGES[0, 0])
    save_png(tmp_path / "10" / "ten.png", IMAGES[0, 0])
    (tmp_path / paths[0].parent.name / "notes.txt").write_text("not a picture")
    (tmp_path / "README").touch()
    assert_holds(load_folder(tmp_path, "train"), paths)


def test_train_and_test_are_kept_apart(tmp_path):
    train, test = write_classes(tmp_path / "train", 0, 20), write_classes(tmp_path / "test", 20, 30)
    assert_holds(load_folder(tmp_path, "train"), train)
    assert_holds(load_folder(tmp_path, "test"), test)


def test_a_training_part_alone_is_used_for_either(tmp_path):
    paths = write_classes(tmp_path / "train", 0, 10)
    assert_holds(load_folder(tmp_path, "test"), paths)


def test_a_test_part_alone_is_not_trained_on(tmp_path):
    write_classes(tmp_path / "test", 0, 10)
    with pytest.raises(DataError, match="only a test part"):
        load_folder(tmp_path, "train")


@pytest.mark.parametrize("faults", [1, 2])
def test_a_picture_that_cannot_be_read_is_named(tmp_path, faults):
    write_classes(tmp_path, 0, 10)
    for name in ("a.png", "b.png")[:faults]:
        (tmp_path / "3").mkdir(exist_ok=True)
        (tmp_path / "3" / name).write_text("not a picture")
    with pytest.raises(DataError) as raised:
        load_folder(tmp_path, "train")
    assert str(tmp_path / "3" / "a.png") in str(raised.value)
    assert ("(and 1 more)" in str(raised.value)) == (faults == 2)


def test_a_folder_that_is_named_like_a_picture_is_passed_over(tmp_path):
    paths = write_classes(tmp_path, 0, 10)
    (paths[0].parent / "album.png").mkdir()
    assert_holds(load_folder(tmp_path, "train"), paths)


def test_a_blank_picture_is_said_to_be_blank_and_not_unreadable(tmp_path):
    write_classes(tmp_path, 0, 10)
    save_png(tmp_path / "3" / "a.png", np.full((40, 40), 255, np.uint8))
    with pytest.raises(DataError, match=r"3/a\.png: the picture is blank: .*; remove it, or take it again") as raised:
        load_folder(tmp_path, "test")
    assert "cannot be read" not in str(raised.value)


@pytest.mark.parametrize("make", [lambda folder: folder, lambda folder: folder / "gone"])
def test_a_folder_without_digits_is_named(tmp_path, make):
    folder = make(tmp_path)
    with pytest.raises(DataError, match="expected") as raised:
        load_folder(folder, "train")
    assert str(folder) in str(raised.value)


def test_idx_files_of_another_size_become_mnists(tmp_path):
    large = np.stack([np.asarray(Image.fromarray(image[0].numpy()).resize((32, 40))) for image in IMAGES])
    write_part(tmp_path, "train", large[:20], TARGETS[:20], ".gz")
    write_part(tmp_path, "test", large[20:], TARGETS[20:])
    train, test = load_folder(tmp_path, "train"), load_folder(tmp_path, "test")
    assert (len(train), len(test)) == (20, 10)
    assert test.targets.tolist() == TARGETS[20:].tolist()
    for image, pixels in zip(test.images, large[20:], strict=True):
        assert np.array_equal(image[0].numpy(), to_digit(Image.fromarray(pixels)))


def test_idx_files_of_28x28_are_taken_as_they_are(tmp_path):
    shifted = IMAGES[:, 0].roll(3, dims=2)
    write_part(tmp_path, "train", shifted, TARGETS)
    for part in ("train", "test"):
        digits = load_folder(tmp_path, part)
        assert torch.equal(digits.images[:, 0], shifted)
        assert torch.equal(digits.targets, TARGETS)
    digits.images.zero_()  # they are ours to write to


def test_an_idx_test_part_alone_is_not_trained_on(tmp_path):
    write_part(tmp_path, "test", IMAGES[:, 0], TARGETS)
    assert len(load_folder(tmp_path, "test")) == 30
    with pytest.raises(DataError, match="only a test part"):
        load_folder(tmp_path, "train")


def test_a_blank_idx_image_is_named(tmp_path):
    images = np.asarray(IMAGES[:, 0].repeat(1, 2, 2))
    images[4] = 0
    write_part(tmp_path, "train", images, TARGETS)
    with pytest.raises(DataError, match="train-images-idx3-ubyte, image 4: "):
        load_folder(tmp_path, "train")
