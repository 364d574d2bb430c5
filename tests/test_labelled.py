"""Labels come from sub-folders and from names whose meaning is plain; what is not plain is refused by name."""

import numpy as np
import pytest
import torch
from conftest import save_png

from digitnet.data.folder import load_folder
from digitnet.data.labelled import label_of, load_labelled
from digitnet.data.strokes import draw_strokes
from digitnet.errors import DataError
from digitnet.pictures import read_digit

IMAGES, TARGETS = draw_strokes(12, seed=11)


@pytest.mark.parametrize("name", ["7", "7_2", "7-anna", "7 (2)", "7(2)", "7_", "7-8", "7 é\n"])
def test_a_name_that_begins_with_the_digit_says_it(name):
    assert label_of(name) == 7


@pytest.mark.parametrize(
    "name", ["", "x", "71", "71_2", "7b", "7th", "3.5", "IMG_7", "IMG-0007", "-7", " 7", "\u0667", "²"]
)
def test_any_other_name_says_nothing(name):
    assert label_of(name) is None


def test_folders_and_names_together(tmp_path):
    """Each picture is read as predict would; a folder's label holds whatever the name in it begins with."""
    paths = [tmp_path / "3" / "5.png", tmp_path / "8" / "IMG_1.png", tmp_path / "0-a.PNG", tmp_path / "9.png"]
    for path, image in zip(paths, IMAGES, strict=False):
        save_png(path, image[0])
    save_png(tmp_path / "more" / "unsorted.png", IMAGES[5, 0])  # passed over
    save_png(tmp_path / ".hidden.png", IMAGES[5, 0])
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "album.png").mkdir()
    (tmp_path / "3" / "album.png").mkdir()
    digits = load_labelled(tmp_path)
    assert digits.targets.tolist() == [3, 8, 0, 9]
    assert digits.targets.dtype == torch.int64
    assert digits.name == str(tmp_path)
    for path, image in zip(paths, digits.images, strict=True):
        assert np.array_equal(image[0].numpy(), read_digit(path))


def test_sub_folders_are_the_data_set_that_eval_reads(tmp_path):
    for i, (image, target) in enumerate(zip(IMAGES, TARGETS.tolist(), strict=True)):
        save_png(tmp_path / str(target) / f"{i}.png", image[0])
    assert load_labelled(tmp_path).fingerprint == load_folder(tmp_path, "test").fingerprint


def assert_refused(folder, *parts):
    with pytest.raises(DataError) as raised:
        load_labelled(folder)
    message = str(raised.value)
    assert "\n" not in message
    assert all(part in message for part in parts), message


def test_what_is_no_folder_of_pictures_is_refused(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "empty" / "7").mkdir(parents=True)
    for name, parts in {"gone": ["no such folder"], "file": ["no such folder"], "empty": ["found none"]}.items():
        assert_refused(tmp_path / name, str(tmp_path / name), *parts)


@pytest.mark.parametrize(("names", "more"), [(["IMG_7.png"], []), (["IMG_7.png", "a.png", "b.png"], ["2 more"])])
def test_a_picture_without_a_label_is_named(tmp_path, names, more):
    for name in ["1.png", "2.png", *names]:
        save_png(tmp_path / name, IMAGES[0, 0])
    assert_refused(tmp_path, str(tmp_path / "IMG_7.png"), "7.jpg", *more)


def test_a_picture_that_cannot_be_read_is_named(tmp_path):
    save_png(tmp_path / "1.png", IMAGES[0, 0])
    (tmp_path / "7.png").write_text("not a picture")
    assert_refused(tmp_path, str(tmp_path / "7.png"), "mend or remove")


def test_a_blank_picture_is_named_and_said_to_be_blank(tmp_path):
    save_png(tmp_path / "1.png", IMAGES[0, 0])
    save_png(tmp_path / "7.png", np.full((40, 40), 255, np.uint8))
    assert_refused(tmp_path, str(tmp_path / "7.png"), "is blank", "remove it, or take it again")


def test_copies_of_one_picture_are_refused(tmp_path):
    """None of them could be kept out."""
    for name in ("1.png", "7.png", "7 (2).png"):
        save_png(tmp_path / name, IMAGES[0, 0])
    assert_refused(tmp_path, str(tmp_path), "3 pictures there are copies of one")


def test_one_digit_alone_is_refused(tmp_path):
    for i in range(3):
        save_png(tmp_path / f"7-{i}.png", IMAGES[i, 0])
    assert_refused(tmp_path, str(tmp_path), "is a 7", "at least two")
