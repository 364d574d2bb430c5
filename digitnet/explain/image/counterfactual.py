"""The smallest change of a picture that changes the answer: a shift, a stroke added or taken away.

Both are searched, not estimated: every candidate of a family is put in the order of its size and read by the network
until the answer is another one. What is found is the smallest of the family, and where nothing is, nothing of it does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from digitnet.config import IMAGE_SIZE
from digitnet.models import DigitNet

MAX_SHIFT = 8  # pixels each way
SPACING = 2  # pixels between the ends of strokes that are tried
LENGTHS = (0, 3, 6, 9, 12)  # pixels; 0 is a dot
DIRECTIONS = 8  # over half a turn: a stroke has no beginning
PEN_RADIUS = 1.1  # pixels: MNIST's strokes are about 2.4 wide
MARGIN = 3  # pixels at the border in which no stroke ends: MNIST's digits leave 4 free
LEAST_INK = 0.5  # of a pixel: less than that can hardly be seen
BATCH_SIZE = 128


@dataclass(frozen=True, kw_only=True, eq=False)
class Change:
    """A changed picture that is read as another digit."""

    image: Tensor
    """(28, 28) float32 in [0, 1]."""
    answer: int
    """What the network reads then."""
    size: float
    """Of a shift: its length in pixels. Of a stroke: how much ink it adds or takes, in pixels full of it."""
    said: str
    """In words, such as 2 px left, 1 px up; places as (row, column), from 0."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Search:
    """What came of trying one family of changes."""

    kind: str
    """shift, added stroke or removed stroke."""
    tried: int
    """Pictures that were read, smallest change first."""
    reach: str
    """How far the family goes, in words."""
    change: Change | None
    """The smallest that changes the answer; None where none of the family does."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidates:
    """All changed pictures of a family, smallest change first."""

    images: Tensor
    """(N, 28, 28) float32 in [0, 1]."""
    sizes: Tensor
    """(N,) float32."""
    said: tuple[str, ...]
    """Each in words."""


def find_changes(model: DigitNet, image: Tensor) -> tuple[Search, ...]:
    """Search for the smallest shift, added stroke and removed stroke that each change the answer.

    Args:
        model: In evaluation mode.
        image: (28, 28) float32 in [0, 1].
    """
    farthest = max((math.hypot(dy, dx) for dy, dx in _shifts(image)), default=0.0)
    strokes = f"straight strokes up to {max(LENGTHS)} px long, {2 * PEN_RADIUS:.1f} px wide"
    return (
        search(model, image, "shift", shifted(image), f"shifts up to {farthest:.1f} px that keep all ink in the frame"),
        search(model, image, "added stroke", with_stroke(image), strokes),
        search(model, image, "removed stroke", without_stroke(image), strokes),
    )


def search(model: DigitNet, image: Tensor, kind: str, candidates: Candidates, reach: str) -> Search:
    """Read candidates, smallest change first, until the answer is another one than for the image, (28, 28) float32."""
    with torch.no_grad():
        answer = int(_read(model, image[None]))
        for start in range(0, len(candidates.images), BATCH_SIZE):
            read = _read(model, candidates.images[start : start + BATCH_SIZE])
            if len(others := (read != answer).nonzero()):
                at = start + int(others[0])
                change = Change(
                    image=candidates.images[at],
                    answer=int(read[at - start]),
                    size=candidates.sizes[at].item(),
                    said=candidates.said[at],
                )
                return Search(kind=kind, tried=at + 1, reach=reach, change=change)
    return Search(kind=kind, tried=len(candidates.images), reach=reach, change=None)


def _read(model: DigitNet, images: Tensor) -> Tensor:
    """Return the digit, (N,) int64 on the CPU, that a network reads in each of the images, (N, 28, 28) float32."""
    logits: Tensor = model(images[:, None].to(model.mean.device))
    return logits.argmax(1).cpu()


def shifted(image: Tensor) -> Candidates:
    """Shift an image, (28, 28), by whole pixels, in every way that leaves all of its ink in the frame."""
    moves = sorted(_shifts(image), key=lambda move: (math.hypot(*move), move))
    images = [image.roll(move, (0, 1)) for move in moves]  # what leaves the frame has no ink, and comes back as paper
    return Candidates(
        images=torch.stack(images) if images else image.new_empty(0, *image.shape),
        sizes=torch.tensor([math.hypot(*move) for move in moves]),
        said=tuple(_say_shift(*move) for move in moves),
    )


def _shifts(image: Tensor) -> list[tuple[int, int]]:
    """List the shifts (down, right), in pixels, that keep the ink in the frame, but the one that does nothing."""
    rows, columns = (image > 0).any(1).nonzero(), (image > 0).any(0).nonzero()
    return [(dy, dx) for dy in _room(rows) for dx in _room(columns) if (dy, dx) != (0, 0)]


def _room(inked: Tensor) -> Iterable[int]:
    """Return how far ink in these rows or columns, (n, 1) int64, may move, at most ``MAX_SHIFT`` each way."""
    low, high = (int(inked.min()), int(inked.max())) if len(inked) else (0, IMAGE_SIZE - 1)
    return range(max(-low, -MAX_SHIFT), min(IMAGE_SIZE - 1 - high, MAX_SHIFT) + 1)


def _say_shift(dy: int, dx: int) -> str:
    parts = [(abs(dx), "left" if dx < 0 else "right"), (abs(dy), "up" if dy < 0 else "down")]
    return ", ".join(f"{length} px {way}" for length, way in parts if length)


def with_stroke(image: Tensor) -> Candidates:
    """Draw each stroke of the family onto an image, (28, 28): ink where either has it."""
    return _ordered(image, torch.maximum(image, strokes()[0]))


def without_stroke(image: Tensor) -> Candidates:
    """Rub each stroke of the family out of an image, (28, 28)."""
    return _ordered(image, image * (1 - strokes()[0]))


def _ordered(image: Tensor, images: Tensor) -> Candidates:
    """Put changed images, (N, 28, 28), in the order of how much ink has changed, leaving out what can't be seen."""
    sizes = (images - image).abs().sum((1, 2))
    order = sizes.sort(stable=True).indices
    order = order[sizes[order] >= LEAST_INK]
    said = strokes()[1]
    return Candidates(images=images[order], sizes=sizes[order], said=tuple(said[i] for i in order.tolist()))


@cache
def strokes() -> tuple[Tensor, tuple[str, ...]]:
    """Draw every straight stroke of the family.

    Returns:
        Images, (N, 28, 28) float32 in [0, 1], and for each what it is in words.
    """
    places = torch.arange(MARGIN, IMAGE_SIZE - MARGIN, SPACING)
    found = []
    for length in LENGTHS:
        for turn in range(DIRECTIONS if length else 1):
            angle = math.pi * turn / DIRECTIONS
            dy, dx = -length * math.sin(angle), length * math.cos(angle)
            starts = torch.cartesian_prod(places, places).float()
            ends = starts + torch.tensor([dy, dx])
            inside = ((ends >= MARGIN) & (ends <= IMAGE_SIZE - 1 - MARGIN)).all(1)
            found += [(start, end, length, turn) for start, end in zip(starts[inside], ends[inside], strict=True)]
    starts, ends = torch.stack([one[0] for one in found]), torch.stack([one[1] for one in found])
    return _draw(starts, ends), tuple(_say_stroke(start, end, length) for start, end, length, _ in found)


def _draw(starts: Tensor, ends: Tensor) -> Tensor:
    """Draw straight strokes between points (N, 2), rows and columns, with a round pen and an edge of a pixel."""
    line = torch.arange(IMAGE_SIZE).float()
    pixels = torch.cartesian_prod(line, line)  # (784, 2)
    along, offset = (ends - starts)[:, None], pixels - starts[:, None]  # (N, 1, 2) and (N, 784, 2)
    share = (offset * along).sum(2) / along.square().sum(2).clamp(min=1e-9)
    apart = (offset - share.clamp(0, 1)[:, :, None] * along).norm(dim=2)
    ink: Tensor = (PEN_RADIUS + 0.5 - apart).clamp(0, 1)
    return ink.view(-1, IMAGE_SIZE, IMAGE_SIZE)


def _say_stroke(start: Tensor, end: Tensor, length: int) -> str:
    (top, left), (bottom, right) = start.round().int().tolist(), end.round().int().tolist()
    if not length:
        return f"a dot at ({top}, {left})"
    return f"{length} px from ({top}, {left}) to ({bottom}, {right})"
