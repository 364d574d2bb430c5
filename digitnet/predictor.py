"""From a checkpoint and pictures to answers: the classifier that ``predict`` and ``digitnet.load`` use."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TypeAlias, overload

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from digitnet.checkpoint import Checkpoint, load_checkpoint
from digitnet.errors import PictureError
from digitnet.models import place, to_float
from digitnet.pictures import read_digit, to_digit, upright
from digitnet.runs import Found, find_checkpoint

BATCH_SIZE = 256
PATIENCE_S = 0.2
READERS = 2  # threads that read pictures; decoding a large one lets go of Python's lock
READ_AHEAD = 8
SMALL_BYTES = 4_096  # a file up to this size takes longer to hand to a thread than to read

Pixels = npt.NDArray[np.uint8]
Read: TypeAlias = tuple[Path, Pixels | str]  # a file with its digit, or with what is wrong with it
Picture = str | Path | Image.Image | npt.NDArray[np.generic] | Tensor


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The answer for one picture."""

    path: str | None
    """Where the picture came from; None when it was no file."""
    digit: int
    """The likeliest digit."""
    confidence: float
    """Its probability, in [0, 1]."""
    probs: tuple[float, ...]
    """The probability of each digit from 0 to 9."""

    def top(self, count: int) -> list[tuple[int, float]]:
        """Return the ``count`` likeliest digits with their probabilities, likeliest first."""
        return sorted(enumerate(self.probs), key=lambda pair: -pair[1])[:count]


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """What stands in an answer's place for a file that could not be read."""

    path: str
    error: str


class Classifier:
    """A trained network that reads pictures of digits."""

    def __init__(self, checkpoint: Checkpoint, found: Found, device: torch.device | None = None) -> None:
        self.checkpoint = checkpoint
        self.name = found.name
        """Which network this is, for people."""
        self.path = found.path
        self.device = device or torch.device("cpu")
        self.model = place(checkpoint.build(), self.device)

    @classmethod
    def load(cls, reference: str | Path | None = None, device: torch.device | None = None) -> Classifier:
        """Load a classifier; ``digitnet.load`` says what a reference is.

        Raises:
            CheckpointError: There is no such checkpoint, or it is not one of digitnet's.
        """
        found = find_checkpoint(reference)
        return cls(load_checkpoint(found.path), found, device)

    @torch.inference_mode()
    def probabilities(self, images: Tensor) -> Tensor:
        """Classify images in MNIST's form.

        Args:
            images: (N, 1, 28, 28) uint8, light ink on black.

        Returns:
            (N, 10) float32 on the CPU; each row sums to 1.
        """
        logits: Tensor = self.model(to_float(images.to(self.device)))
        return logits.softmax(1).cpu()

    @overload
    def predict(self, pictures: str | Path | Image.Image) -> Prediction: ...
    @overload
    def predict(self, pictures: list[Picture] | tuple[Picture, ...]) -> list[Prediction]: ...
    @overload
    def predict(self, pictures: npt.NDArray[np.generic] | Tensor) -> Prediction | list[Prediction]: ...

    def predict(self, pictures: Picture | list[Picture] | tuple[Picture, ...]) -> Prediction | list[Prediction]:
        """Read the digit in each picture.

        Args:
            pictures: One picture or a sequence of them: paths, PIL images, arrays or tensors. An array is
                (H, W) or (H, W, C) with C 1, 3 or 4; many are (N, H, W) or (N, H, W, C). A tensor has its channels
                first: (H, W), (C, H, W) or (N, C, H, W), with C 1 or 3. Integers are from 0 to 255, floats in [0, 1].

        Returns:
            A prediction for one picture, a list of them for many, in their order.

        Raises:
            PictureError: A picture cannot be read or is blank.
            ValueError: An array's shape or range is none of the above.
        """
        if isinstance(pictures, Tensor):
            pictures = _channels_last(pictures)
        parts = _unstack(pictures) if isinstance(pictures, np.ndarray) else pictures
        if isinstance(parts, list | tuple):
            return self._predict_many(parts)
        return self._predict_many([parts])[0]

    def _predict_many(self, pictures: Sequence[Picture]) -> list[Prediction]:
        paths = [str(p) if isinstance(p, str | Path) else None for p in pictures]
        digits = [_to_pixels(picture) for picture in pictures]
        return [
            answer
            for start in range(0, len(digits), BATCH_SIZE)
            for answer in self._answer(paths[start : start + BATCH_SIZE], digits[start : start + BATCH_SIZE])
        ]

    def predict_files(self, paths: Iterable[Path | None]) -> Iterator[Prediction | Unreadable]:
        """Read the digit in each file, one at a time from an endless list if need be, in the order given.

        A file that cannot be read does not stop the rest: an ``Unreadable`` takes its place. Where a list may keep us
        waiting for its next path, it has a None: what came before that is answered first.
        """
        with ThreadPoolExecutor(READERS) as readers:
            for batch in _batches(_read_ahead(paths, readers)):
                names = [str(path) for path, digit in batch if isinstance(digit, np.ndarray)]
                answers = iter(self._answer(names, [digit for _, digit in batch if isinstance(digit, np.ndarray)]))
                for path, digit in batch:
                    yield next(answers) if isinstance(digit, np.ndarray) else Unreadable(path=str(path), error=digit)

    def _answer(self, paths: Sequence[str | None], digits: Sequence[Pixels]) -> list[Prediction]:
        if not digits:
            return []
        rows = self.probabilities(torch.from_numpy(np.stack(digits))[:, None]).tolist()
        best = [max(range(10), key=row.__getitem__) for row in rows]
        return [
            Prediction(path=path, digit=digit, confidence=row[digit], probs=tuple(row))
            for path, digit, row in zip(paths, best, rows, strict=True)
        ]


def _read_ahead(paths: Iterable[Path | None], readers: ThreadPoolExecutor) -> Iterator[Read | None]:
    """Read files in order, large ones in threads, a few ahead of what is asked for; pass each None on."""
    waiting: deque[tuple[Path, Pixels | str | Future[Pixels | str]]] = deque()
    for path in chain(paths, [None]):
        if path is not None:
            waiting.append((path, readers.submit(_read_or_error, path) if _is_large(path) else _read_or_error(path)))
        while waiting and (path is None or len(waiting) > READ_AHEAD or not isinstance(waiting[0][1], Future)):
            first, digit = waiting.popleft()
            yield first, digit.result() if isinstance(digit, Future) else digit
        if path is None:
            yield None


def _batches(items: Iterable[Read | None]) -> Iterator[list[Read]]:
    """Gather items into lists, full ones or what a fifth of a second brings: nobody waits for 256 large photos.

    A None ends a list, too.
    """
    batch: list[Read] = []
    started = time.monotonic()
    for item in items:
        if item is not None:
            batch.append(item)
        if batch and (item is None or len(batch) == BATCH_SIZE or time.monotonic() - started > PATIENCE_S):
            yield batch
            batch, started = [], time.monotonic()


def _is_large(path: Path) -> bool:
    try:
        return path.stat().st_size > SMALL_BYTES
    except (OSError, ValueError):  # reading it will say what is wrong
        return False


def _read_or_error(path: Path) -> Pixels | str:
    try:
        return read_digit(path)
    except PictureError as error:
        return str(error)


def _to_pixels(picture: Picture) -> Pixels:
    if isinstance(picture, str | Path):
        return read_digit(Path(picture))
    if isinstance(picture, Tensor):
        picture = _channels_last(picture)
    if isinstance(picture, np.ndarray):
        if isinstance(_unstack(picture), list):
            raise ValueError(f"expected one picture, (H, W) or (H, W, 3 or 4), found a shape of {picture.shape}")
        return to_digit(Image.fromarray(_to_bytes(picture)))
    if not isinstance(picture, Image.Image):
        raise TypeError(f"expected a path, a PIL image, an array or a tensor, found {type(picture).__name__}")
    return to_digit(upright(picture))


def _channels_last(tensor: Tensor) -> npt.NDArray[np.generic]:
    """Turn (H, W), (C, H, W) or (N, C, H, W) into an array with the channels, if 3, last."""
    tensor = tensor.float() if tensor.dtype == torch.bfloat16 else tensor  # which numpy does not know
    array: npt.NDArray[np.generic] = tensor.detach().cpu().numpy()
    if array.ndim < 3:
        return array
    if array.shape[-3] not in (1, 3):
        raise ValueError(
            f"expected a tensor of (C, H, W) or (N, C, H, W) with 1 or 3 channels, found {tuple(tensor.shape)}"
        )
    return array.squeeze(-3) if array.shape[-3] == 1 else np.moveaxis(array, -3, -1)


def _unstack(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic] | list[npt.NDArray[np.generic]]:
    """Tell one picture from many by the shape."""
    if array.ndim >= 3 and array.shape[-1] == 1:
        array = array[..., 0]
    coloured = array.ndim >= 3 and array.shape[-1] in (3, 4)
    picture_dimensions = 3 if coloured else 2
    if array.ndim == picture_dimensions:
        return array
    if array.ndim == picture_dimensions + 1:
        return list(array)
    raise ValueError(f"expected an array of (H, W), (H, W, 3 or 4), or many of these, found a shape of {array.shape}")


def _to_bytes(array: npt.NDArray[np.generic]) -> Pixels:
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * 255
    top = 1.0 if np.issubdtype(array.dtype, np.floating) else 255.0
    values = array.astype(np.float64)
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= top):  # false for NaN, too
        raise ValueError(f"expected values from 0 to {top:g} in an array of {array.dtype}, found {low:g} to {high:g}")
    return np.rint(values * (255 / top)).astype(np.uint8)
