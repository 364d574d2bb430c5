"""The IDX format of MNIST's files: found in a folder, read and checked. Nothing here knows MNIST's contents.

Source: http://yann.lecun.com/exdb/mnist/ (the section on file formats).
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from digitnet.errors import DataError

Part = Literal["train", "test"]

IMAGES_MAGIC, LABELS_MAGIC = 0x803, 0x801  # unsigned bytes in three dimensions, and in one
MAX_BYTES = 4_000_000_000
STEMS: dict[Part, str] = {"train": "train", "test": "t10k"}


def find_idx(folder: Path, part: Part) -> tuple[Path, Path] | None:
    """Find the images' and the labels' file of a part, plain or .gz, in a folder or in its ``MNIST/raw``.

    Raises:
        DataError: One file of the two is there and the other is not.
    """
    for place in (folder, folder / "MNIST" / "raw"):
        images = _plain_or_gz(place / f"{STEMS[part]}-images-idx3-ubyte")
        labels = _plain_or_gz(place / f"{STEMS[part]}-labels-idx1-ubyte")
        if images and labels:
            return images, labels
        if there := images or labels:
            absent = "labels-idx1-ubyte" if images else "images-idx3-ubyte"
            raise DataError(f"{place}: {STEMS[part]}-{absent} is missing beside {there.name}")
    return None


def _plain_or_gz(path: Path) -> Path | None:
    return next((p for p in (path, path.with_name(f"{path.name}.gz")) if p.is_file()), None)


def read_pair(images_path: Path, labels_path: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Read images, (N, height, width) uint8, and their labels, (N,) uint8 from 0 to 9.

    Raises:
        DataError: A file is damaged, is not what its name says, or the two do not belong together.
    """
    images = read_idx(images_path, IMAGES_MAGIC)
    labels = read_idx(labels_path, LABELS_MAGIC)
    if len(images) != len(labels):
        raise DataError(
            f"{labels_path}: expected {len(images):,} labels, as many as there are images in {images_path.name}; "
            f"found {len(labels):,}"
        )
    if len(images) == 0 or 0 in images.shape:
        raise DataError(f"{images_path}: expected images, found a shape of {images.shape}")
    if labels.max() > 9:
        where = int(labels.argmax())
        raise DataError(f"{labels_path}: expected labels from 0 to 9, found {labels[where]} at position {where}")
    return images, labels


def read_idx(path: Path, magic: int) -> npt.NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, plain or .gz, into an array of the shape in its header.

    Raises:
        DataError: The magic number or the length is not what it should be; says which was found.
    """
    data = _read_bytes(path)
    dimensions = magic & 0xFF
    header = 4 + 4 * dimensions
    found = int.from_bytes(data[:4], "big")
    if len(data) < 4 or found != magic:
        shown = f"0x{found:08x}" if len(data) >= 4 else f"{len(data)} bytes"
        raise DataError(f"{path}: expected the IDX magic number 0x{magic:08x}, found {shown}")
    if len(data) < header:
        raise DataError(f"{path}: truncated: expected a header of {header} bytes, found {len(data)} bytes")
    shape = tuple(int.from_bytes(data[i : i + 4], "big") for i in range(4, header, 4))
    expected = header + math.prod(shape)
    if len(data) != expected:
        fault = "truncated" if len(data) < expected else "too long"
        raise DataError(f"{path}: {fault}: expected {expected:,} bytes for {_by(shape)}, found {len(data):,}")
    try:
        return np.frombuffer(data, np.uint8, offset=header).reshape(shape)
    except ValueError as error:  # no images, but of a size that cannot be
        raise DataError(f"{path}: expected images, found a shape of {shape}") from error


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _read_bytes(path: Path) -> bytes:
    try:
        if path.suffix != ".gz":
            if path.stat().st_size > MAX_BYTES:
                raise DataError(f"{path}: larger than {MAX_BYTES:,} bytes")
            return path.read_bytes()
        with gzip.open(path) as stream:
            data = stream.read(MAX_BYTES + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: damaged or truncated gzip file: {error}") from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    if len(data) > MAX_BYTES:
        raise DataError(f"{path}: unpacks to more than {MAX_BYTES:,} bytes")
    return data
