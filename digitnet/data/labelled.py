"""A few labelled pictures of one's own: a picture's sub-folder, or else its name, says which digit it is."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from digitnet.data.digits import Digits, fingerprint
from digitnet.data.folder import class_pictures, pictures_in, read_pictures
from digitnet.errors import DataError

# 7, 7_2, 7-anna and 7 (2), but neither 71, 7b and 3.5 nor IMG_7: a number at the end is as often the camera's counter.
NAME = re.compile(r"([0-9])(?:[-_ (].*)?", re.DOTALL)
EXPECTED = "pictures in sub-folders 0 to 9, or with names that begin with their digit, such as 7.jpg or 7-anna.png"


def load_labelled(folder: Path) -> Digits:
    """Load the labelled pictures of a folder, each made what MNIST would have made of it.

    A picture in a sub-folder 0 to 9 has that label; one in the folder itself is labelled by its name. What is in other
    sub-folders, or is no picture, is passed over.

    Raises:
        DataError: There is no such folder or no picture in it; a picture is not labelled, cannot be read or is blank;
            or all pictures are of one digit, or the same.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder; expected one with {EXPECTED}")
    pictures = class_pictures(folder) + _named_pictures(folder)
    if not pictures:
        raise DataError(f"{folder}: expected {EXPECTED}; found none")
    labels = {label for _, label in pictures}
    if len(labels) == 1:
        raise DataError(
            f"{folder}: every picture there is a {labels.pop()}; pictures of at least two digits are needed, "
            "or nothing would show what else is now taken for one"
        )
    images = torch.from_numpy(read_pictures([path for path, _ in pictures]))[:, None]
    targets = torch.tensor([label for _, label in pictures])
    if bool((images == images[0]).all()):
        raise DataError(f"{folder}: the {len(images)} pictures there are copies of one, which cannot be two digits")
    return Digits(name=str(folder), images=images, targets=targets, fingerprint=fingerprint(images, targets))


def label_of(name: str) -> int | None:
    """Return the digit that a picture's name, without its suffix, says; None where it does not."""
    match = NAME.fullmatch(name)
    return int(match[1]) if match else None


def _named_pictures(folder: Path) -> list[tuple[Path, int]]:
    """List the pictures in the folder itself with their labels, in the order of their names."""
    paths = pictures_in(folder)
    labelled = [(path, label) for path in paths if (label := label_of(path.stem)) is not None]
    if len(labelled) < len(paths):
        first = next(path for path in paths if label_of(path.stem) is None)
        more = f" (nor do {others} more)" if (others := len(paths) - len(labelled) - 1) else ""
        raise DataError(
            f"{first}: the name does not say which digit it is{more}; begin it with the digit, such as 7.jpg or "
            "7-anna.png, or put it into a sub-folder 0 to 9"
        )
    return labelled
