"""A folder of one's own as a data set: sub-folders 0 to 9 of pictures, or IDX files with pictures of any size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from digitnet.config import IMAGE_SIZE
from digitnet.data.digits import Digits, fingerprint
from digitnet.data.idx import Part, find_idx, read_pair
from digitnet.decoding import is_picture_name, walk_pictures
from digitnet.errors import BlankError, DataError, PictureError
from digitnet.pictures import read_digit, read_prepared, to_digit

Pictures = tuple[npt.NDArray[np.uint8], Sequence[int]]


def load_folder(folder: Path, part: Part) -> Digits:
    """Load labelled pictures from a folder, each made what MNIST would have made of it.

    The folder holds sub-folders 0 to 9 (or ``train`` and ``test`` with such sub-folders), or IDX files. A folder
    without a test part is used whole for either part.

    Raises:
        DataError: The folder holds no labelled digits, or a picture cannot be read.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such data set: expected mnist, strokes or a folder")
    images, labels = _read_idx_folder(folder, part) or _read_class_folders(folder, part)
    targets = torch.tensor(labels, dtype=torch.int64)
    pixels = torch.from_numpy(images)[:, None]
    return Digits(name=str(folder), images=pixels, targets=targets, fingerprint=fingerprint(pixels, targets))


def load_unlabelled(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Load all pictures in a folder and its sub-folders, whatever they show.

    Returns:
        Images, uint8 (N, 1, 28, 28), and whether the ink alone says that each is no single digit, bool (N,).

    Raises:
        DataError: The folder holds no pictures, or one cannot be read.
    """
    paths = list(walk_pictures(folder))
    if not paths:
        raise DataError(f"{folder}: there are no pictures in it")
    try:
        ready = [read_prepared(path) for path in paths]
    except PictureError as error:
        raise DataError(f"{error}; mend or remove what cannot be read") from error
    pixels = torch.from_numpy(np.stack([picture.pixels for picture in ready]))[:, None]
    return pixels, torch.tensor([picture.objection is not None for picture in ready])


def has_test_folder(folder: Path) -> bool:
    """Say whether a folder holds a test part of its own."""
    return (folder / "test").is_dir() or find_idx(folder, "test") is not None


def _read_idx_folder(folder: Path, part: Part) -> Pictures | None:
    other: Part = "test" if part == "train" else "train"
    pair = find_idx(folder, part)
    if pair is None and find_idx(folder, other) is None:
        return None
    if pair is None and part == "train":
        raise DataError(f"{folder}: only a test part is there (t10k-images-idx3-ubyte), nothing to train on")
    images_path, labels_path = pair or find_idx(folder, other)  # type: ignore[misc]
    images, labels = read_pair(images_path, labels_path)
    if images.shape[1:] != (IMAGE_SIZE, IMAGE_SIZE):
        images = np.stack([_normalise(image, f"{images_path}, image {i}") for i, image in enumerate(images)])
    return images, labels.tolist()


def _read_class_folders(folder: Path, part: Part) -> Pictures:
    root = next((place for place in (folder / part, folder / "train") if place.is_dir()), folder)
    pictures = class_pictures(root)
    if not pictures:
        if part == "train" and has_test_folder(folder):
            raise DataError(f"{folder}: only a test part is there, nothing to train on")
        raise DataError(
            f"{root}: expected sub-folders 0 to 9 with pictures, IDX files, or tar shards; found none of them"
        )
    return read_pictures([path for path, _ in pictures]), [label for _, label in pictures]


def class_pictures(root: Path) -> list[tuple[Path, int]]:
    """List the pictures in the sub-folders 0 to 9 with their labels, in the order of their names."""
    return [
        (path, int(place.name))
        for place in sorted(root.iterdir())
        if place.is_dir() and place.name in set("0123456789")
        for path in pictures_in(place)
    ]


def pictures_in(folder: Path) -> list[Path]:
    """List the pictures in the folder itself, in the order of their names."""
    return [path for path in sorted(folder.iterdir()) if is_picture_name(path) and not path.is_dir()]


def read_pictures(paths: Sequence[Path]) -> npt.NDArray[np.uint8]:
    """Read picture files, each made what MNIST would have made of it: (N, 28, 28), N at least 1.

    Raises:
        DataError: Some cannot be read or are blank; the first is named.
    """
    images: list[npt.NDArray[np.uint8]] = []
    faults: list[PictureError] = []
    for path in paths:
        try:
            images.append(read_digit(path))
        except PictureError as error:
            faults.append(error)
    if faults:
        raise not_read(faults[0], f" (and {len(faults) - 1} more)" if len(faults) > 1 else "")
    return np.stack(images)


def not_read(fault: PictureError, more: str = "") -> DataError:
    """Make the error that says that a picture of a data set cannot be read, and what to do."""
    blank = isinstance(fault, BlankError)
    advice = "remove it, or take it again with the digit in it" if blank else "mend or remove what cannot be read"
    return DataError(f"{fault}{more}; {advice}")


def _normalise(image: npt.NDArray[np.uint8], where: str) -> npt.NDArray[np.uint8]:
    try:
        return to_digit(Image.fromarray(image))
    except PictureError as error:
        raise DataError(f"{where}: {error}") from error
