"""From a checkpoint and pictures to answers: the classifier that ``predict`` and ``digitnet.load`` use."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TypeAlias, overload

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from digitnet.arrays import channels_last, to_bytes, unstack
from digitnet.checkpoint import Checkpoint, load_checkpoint
from digitnet.config import NUM_CLASSES, REJECT_RATE
from digitnet.decoding import upright
from digitnet.errors import CheckpointError, PictureError
from digitnet.evaluation import EVAL_BATCH, logits_of
from digitnet.models import place
from digitnet.pictures import Objection, Prepared, prepare, read_prepared
from digitnet.rejection import digit_score
from digitnet.runs import Found, find_checkpoint
from digitnet.sources import Packed, Source, Unreadable, path_of, size_of

BATCH_SIZE = EVAL_BATCH
PATIENCE_S = 0.2
READERS = 2  # threads that read pictures; decoding a large one lets go of Python's lock
READ_AHEAD = 8
HELD_BYTES = 16_000_000  # a picture that holds more in memory, being no file, is waited for
SMALL_BYTES = 4_096  # a file up to this size takes longer to hand to a thread than to read

Read: TypeAlias = tuple[str, Prepared | str]  # a picture's path with its digit, or with what is wrong with it
Picture = str | Path | Image.Image | npt.NDArray[np.generic] | Tensor


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The answer for one picture."""

    path: str | None
    """Where the picture came from; None when it was no file."""
    digit: int | None
    """The likeliest digit, even of a picture that is turned away; None where there is no ink."""
    confidence: float
    """Its probability, in [0, 1]: the highest of ``probs``."""
    probs: tuple[float, ...]
    """The probability of each digit from 0 to 9, if it is a digit; all alike where there is no ink."""
    score: float | None
    """How much it is like a digit, as ``rejection.digit_score``; None where there is no ink."""
    reason: Objection | None = None
    """Why the picture is turned away; None when it is accepted."""

    prepared: Prepared | None = field(default=None, compare=False, repr=False)
    """What the network saw, and how it was made; of a file, where it was asked for."""

    @property
    def accepted(self) -> bool:
        """Whether the digit is given as the answer."""
        return self.reason is None

    def top(self, count: int) -> list[tuple[int, float]]:
        """Return the ``count`` likeliest digits with their probabilities, likeliest first; of a blank, none."""
        if self.digit is None:
            return []
        return sorted(enumerate(self.probs), key=lambda pair: -pair[1])[:count]


class Classifier:
    """A trained network that reads pictures of digits."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        found: Found,
        device: torch.device | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.checkpoint = checkpoint
        self.name = found.name
        """Which network this is, for people."""
        self.path = found.path
        self.device = device or torch.device("cpu")
        self.dtype = dtype
        """What matrix products run in."""
        self.model = place(checkpoint.build(), self.device)

    @classmethod
    def load(
        cls,
        reference: str | Path | None = None,
        device: torch.device | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Classifier:
        """Load a classifier; ``digitnet.load`` says what a reference is.

        In bfloat16, where the hardware multiplies in it, a CNN answers in less than half the time, and its
        probabilities are right to two digits.

        Raises:
            CheckpointError: There is no such checkpoint, or it is not one of digitnet's.
        """
        found = find_checkpoint(reference)
        return cls(load_checkpoint(found.path), found, device, dtype)

    def logits(self, images: Tensor) -> Tensor:
        """Run the network over images in MNIST's form: (N, 1, 28, 28) uint8, light ink on black.

        Returns:
            Logits as the network gives them, (N, 10) float32 on its device.

        Raises:
            CheckpointError: They are no numbers: the weights, each of which is one, are beyond any that were trained.
        """
        logits = logits_of(self.model, images.to(self.device), self.dtype)
        if not bool(logits.isfinite().all()):
            raise CheckpointError(f"{self.path}: its weights are damaged: what it answers is not finite")
        return logits

    def calibrated_logits(self, images: Tensor) -> Tensor:
        """Return logits divided by the temperature, (N, 10) float32 on the CPU, for images as for ``logits``."""
        return self.logits(images).cpu() / self.checkpoint.calibration.temperature

    def probabilities(self, images: Tensor) -> Tensor:
        """Return calibrated probabilities, (N, 10) float32 on the CPU, for images as for ``logits``."""
        return self.calibrated_logits(images).softmax(1)

    @overload
    def predict(self, pictures: str | Path | Image.Image, *, reject_rate: float = ...) -> Prediction: ...
    @overload
    def predict(
        self, pictures: list[Picture] | tuple[Picture, ...], *, reject_rate: float = ...
    ) -> list[Prediction]: ...
    @overload
    def predict(
        self, pictures: npt.NDArray[np.generic] | Tensor, *, reject_rate: float = ...
    ) -> Prediction | list[Prediction]: ...

    def predict(
        self, pictures: Picture | list[Picture] | tuple[Picture, ...], *, reject_rate: float = REJECT_RATE
    ) -> Prediction | list[Prediction]:
        """Read the digit in each picture, and turn away what is none.

        Args:
            pictures: One picture or a sequence of them: paths, PIL images, arrays or tensors. An array is
                (H, W) or (H, W, C) with C 1, 3 or 4; many are (N, H, W) or (N, H, W, C). A tensor has its channels
                first: (H, W), (C, H, W) or (N, C, H, W), with C 1 or 3. Integers are from 0 to 255, floats in [0, 1].
            reject_rate: What share of real digits, in [0, 1], may be turned away with what is no digit. 0 turns away
                blank pictures and noise only, 1 everything.

        Returns:
            A prediction for one picture, a list of them for many, in their order.

        Raises:
            PictureError: A picture cannot be read.
            ValueError: An array's shape or range is none of the above, or the rate is not in [0, 1].
        """
        if isinstance(pictures, Tensor):
            pictures = channels_last(pictures)
        parts = unstack(pictures) if isinstance(pictures, np.ndarray) else pictures
        if isinstance(parts, list | tuple):
            return self._predict_many(parts, reject_rate)
        return self._predict_many([parts], reject_rate)[0]

    def _predict_many(self, pictures: Sequence[Picture], reject_rate: float) -> list[Prediction]:
        paths = [str(p) if isinstance(p, str | Path) else None for p in pictures]
        ready = [_to_prepared(picture) for picture in pictures]
        return [
            answer
            for start in range(0, len(ready), BATCH_SIZE)
            for answer in self._answer(
                paths[start : start + BATCH_SIZE], ready[start : start + BATCH_SIZE], reject_rate
            )
        ]

    def predict_files(
        self, sources: Iterable[Source | Unreadable | None], *, reject_rate: float = REJECT_RATE, show: bool = False
    ) -> Iterator[Prediction | Unreadable]:
        """Read the digit in each picture, one at a time from an endless list if need be, in the order given.

        One that cannot be read does not stop the rest: an ``Unreadable`` takes its place, as it takes its own. Where
        a list may keep us waiting for what is next, it has a None: what came before that is answered first. With
        ``show``, an answer keeps what the network saw.
        """
        with ThreadPoolExecutor(READERS) as readers:
            for batch in _batches(_read_ahead(sources, readers)):
                names = [path for path, ready in batch if isinstance(ready, Prepared)]
                pictures = [ready for _, ready in batch if isinstance(ready, Prepared)]
                answers = iter(self._answer(names, pictures, reject_rate))
                for path, ready in batch:
                    if isinstance(ready, str):
                        yield Unreadable(path=path, error=ready)
                    else:
                        yield replace(next(answers), prepared=ready) if show else next(answers)

    def _answer(
        self, paths: Sequence[str | None], pictures: Sequence[Prepared], reject_rate: float
    ) -> list[Prediction]:
        if not pictures:
            return []
        logits = self.calibrated_logits(torch.from_numpy(np.stack([picture.pixels for picture in pictures]))[:, None])
        rows, scores = logits.softmax(1).tolist(), digit_score(logits).tolist()
        needed = self.checkpoint.calibration.thresholds.score(reject_rate)
        return [
            _without_ink(path, picture.objection)
            if picture.objection in ("blank", "noise")
            else _judged(path, picture.objection, row, score, needed)
            for path, picture, row, score in zip(paths, pictures, rows, scores, strict=True)
        ]


def _without_ink(path: str | None, reason: Objection | None) -> Prediction:
    share = 1 / NUM_CLASSES
    return Prediction(path=path, digit=None, confidence=share, probs=(share,) * NUM_CLASSES, score=None, reason=reason)


def _judged(
    path: str | None, objection: Objection | None, probs: list[float], score: float, needed: float
) -> Prediction:
    """Make an answer of what the network said, and of the score that an accepted one needs."""
    digit = max(range(NUM_CLASSES), key=probs.__getitem__)
    reason: Objection | None = "not a digit" if score < needed else None
    if objection is not None and needed > -math.inf:  # infinitely little is needed where all that has ink is accepted
        reason = objection
    return Prediction(path=path, digit=digit, confidence=probs[digit], probs=tuple(probs), score=score, reason=reason)


def _read_ahead(sources: Iterable[Source | Unreadable | None], readers: ThreadPoolExecutor) -> Iterator[Read | None]:
    """Read pictures in order, large ones in threads, a few ahead of what is asked for; pass each None on."""
    waiting: deque[tuple[str, Prepared | str | Future[Prepared | str]]] = deque()
    for source in chain(sources, [None]):
        if isinstance(source, Unreadable):
            waiting.append((source.path, source.error))
        elif source is not None:
            ahead = _is_large(source)
            read = readers.submit(_read_or_error, source) if ahead else _read_or_error(source)
            waiting.append((path_of(source), read))
        at_once = source is None or (isinstance(source, Packed) and len(source.data) > HELD_BYTES)
        while waiting and (at_once or len(waiting) > READ_AHEAD or not isinstance(waiting[0][1], Future)):
            path, found = waiting.popleft()
            yield path, found.result() if isinstance(found, Future) else found
        if source is None:
            yield None


def _batches(items: Iterable[Read | None]) -> Iterator[list[Read]]:
    """Gather items into lists, full ones or what a fifth of a second brings: nobody waits for 250 large photos.

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


def _is_large(source: Source) -> bool:
    try:
        return size_of(source) > SMALL_BYTES
    except (OSError, ValueError):  # reading it will say what is wrong
        return False


def _read_or_error(source: Source) -> Prepared | str:
    try:
        return read_prepared(source)
    except PictureError as error:
        return str(error)


def _to_prepared(picture: Picture) -> Prepared:
    if isinstance(picture, str | Path):
        return read_prepared(Path(picture))
    if isinstance(picture, Tensor):
        picture = channels_last(picture)
    if isinstance(picture, np.ndarray):
        if isinstance(unstack(picture), list):
            raise ValueError(f"expected one picture, (H, W) or (H, W, 3 or 4), found a shape of {picture.shape}")
        return prepare(Image.fromarray(to_bytes(picture)))
    if not isinstance(picture, Image.Image):
        raise TypeError(f"expected a path, a PIL image, an array or a tensor, found {type(picture).__name__}")
    return prepare(upright(picture))
