"""The IDX format of MNIST's files: found in a folder, read and checked. Nothing here knows MNIST's contents.

Source: http://yann.lecun.com/exdb/mnist/ (the section on file formats).
"""

from __future__ import annotations

import gzip
import io
import math
import zlib
from pathlib import Path
from typing import Literal, cast

import numpy as np
import numpy.typing as npt

from digitnet.errors import DataError

Part = Literal["train", "test"]

IMAGES_MAGIC, LABELS_MAGIC = 0x803, 0x801  # unsigned bytes in three dimensions, and in one
MAX_BYTES = 500_000_000  # 600,000 images of 28x28; what a gzip file of a thousandth of that may unpack to
BLOCK = 1_000_000  # bytes at a time: gzip makes them elsewhere first
MAX_IMAGES = 600_000
MAX_PIXELS = 4_000_000  # of one image
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
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path}: larger than {MAX_BYTES:,} bytes")
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            return _read_array(path, cast(io.BufferedIOBase, stream), magic)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: damaged or truncated gzip file: {error}") from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error


def _read_array(path: Path, stream: io.BufferedIOBase, magic: int) -> npt.NDArray[np.uint8]:
    """Read a header, and as many bytes as it states: what a small gzip file unpacks to may be endless."""
    dimensions = magic & 0xFF
    header = 4 + 4 * dimensions
    head = stream.read(header)
    found = int.from_bytes(head[:4], "big")
    if len(head) < 4 or found != magic:
        shown = f"0x{found:08x}" if len(head) >= 4 else f"{len(head)} bytes"
        raise DataError(f"{path}: expected the IDX magic number 0x{magic:08x}, found {shown}")
    if len(head) < header:
        raise DataError(f"{path}: truncated: expected a header of {header} bytes, found {len(head)} bytes")
    shape = tuple(int.from_bytes(head[i : i + 4], "big") for i in range(4, header, 4))
    size = math.prod(shape)
    if shape[0] > MAX_IMAGES or math.prod(shape[1:]) > MAX_PIXELS or size > MAX_BYTES:
        limits = f"{MAX_IMAGES:,} images of {MAX_PIXELS:,} pixels, {MAX_BYTES:,} bytes in all"
        raise DataError(f"{path}: {_by(shape)} is too large: the limits are {limits}")
    data = _read_at_most(stream, size + 1)
    if len(data) != size:
        fault = "truncated" if len(data) < size else "too long"
        length = f"{header + len(data):,}" if len(data) < size else "more"
        raise DataError(f"{path}: {fault}: expected {header + size:,} bytes for {_by(shape)}, found {length}")
    return data.reshape(shape)


def _read_at_most(stream: io.BufferedIOBase, size: int) -> npt.NDArray[np.uint8]:
    """Read up to so many bytes; what a lying header states beyond those that are there takes no memory."""
    data = np.empty(size, np.uint8)
    filled = 0
    while read := stream.readinto(data[filled : filled + BLOCK].data):
        filled += read
    return data[:filled]


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
