"""The paper under the ink: whether paper or ink is darker, and how light the paper is.

Arrays only: no files, no picture modes. What on the paper is ink, ink.py decides; where the paper is, sheet.py.
"""

import math
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

Grey = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

LEAST_CONTRAST = 0.06  # of the paper's brightness; fainter than any pencil, stronger than JPEG's noise
PHOTO_SIDE = 64  # a picture with a shorter side is a drawing: no shadows, sheets and edges are looked for
_LEAST_NOISE = 0.05  # standard deviation, of black to white; fainter grain is paper's
_UNLIKE = 0.8  # of it is the mean difference between neighbours: of independent pixels 1 or more, of drawings below 0.4
_PAPER_DEPTH = 0.2  # what is darker by more than this says nothing about the paper's grain
_PAPER_CELLS = 64  # the paper's brightness is found on about this many cells along the longer side
PAPER_WINDOW = 1 / 3  # of the longer side: wider than any stroke, narrower than any shadow that matters
CLOSE_WINDOW = 1 / 9  # where shadows are sharp
_INSETS = (0, 0.05, 0.1)  # of the shorter side: where the border is looked at, past a dark edge


def is_noise(grey: Grey) -> bool:
    """Say whether a picture is noise: each pixel differs from the next as much as from any other."""
    if min(grey.shape) < PHOTO_SIDE:
        return False
    spread = float(grey.std())
    if spread < _LEAST_NOISE:
        return False
    return all(float(np.abs(np.diff(grey, axis=axis)).mean()) > _UNLIKE * spread for axis in (1, 0))


def border(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the outermost 2 % of a picture's rows and columns, in one line."""
    return np.concatenate([side.ravel() for side in _sides(values)])


def _sides(values: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    depth = max(1, round(0.02 * min(values.shape)))
    return [values[:depth], values[-depth:], values[:, :depth], values[:, -depth:]]


def is_dark_on_light(grey: Grey) -> bool:
    """Tell the polarity by the border; where a shadow or a dark edge lies on part of it, by what is rare."""
    # Not quite the extremes, which are single specks; yet a small digit on a page is no more than this.
    count = grey.size // 5000
    ordered = np.partition(grey.ravel(), [count, grey.size - 1 - count])
    darkest, lightest = float(ordered[count]), float(ordered[-1 - count])
    ring = _even_ring(grey, 0.25 * (lightest - darkest)) if min(grey.shape) >= PHOTO_SIDE else grey
    if ring is None:
        return _rare_is_dark(grey)
    paper = float(np.median(border(ring)))
    return paper - darkest >= lightest - paper


def _even_ring(grey: Grey, most: float) -> Grey | None:
    """Cut a picture down until its four sides differ by less than `most`: past the dark edges of a scan."""
    for inset in _INSETS:
        depth = round(inset * min(grey.shape))
        ring = grey[depth : grey.shape[0] - depth, depth : grey.shape[1] - depth]
        if np.ptp([np.median(side) for side in _sides(ring)]) < most:
            return ring
    return None


def _rare_is_dark(grey: Grey) -> bool:
    """Say whether, of the dark and the light in each part of a picture, there is less of the dark, as of ink."""
    cells = _cell_means(grey)
    window = 2 * round(PAPER_WINDOW * max(cells.shape) / 2) + 1
    lightest, darkest = _running(np.maximum, cells, window), _running(np.minimum, cells, window)
    depth = lightest - darkest
    told = depth > 0.5 * depth.max()
    return bool((cells > (lightest + darkest) / 2)[told].mean() >= 0.5)


def _cell_means(grey: Grey) -> Grey:
    """Average a picture over about 64 cells along the longer side."""
    cell = max(1, round(max(grey.shape) / _PAPER_CELLS))
    cells: Grey = in_cells(grey, cell, mode="edge").mean(axis=(1, 3))
    return cells


def in_cells(values: npt.NDArray[Any], cell: int, mode: Literal["constant", "edge"]) -> npt.NDArray[Any]:
    """Cut a picture, padded by `mode` where it does not come out even, into cells: (rows, cell, columns, cell)."""
    height, width = values.shape
    padded = np.pad(values, ((0, -height % cell), (0, -width % cell)), mode=mode)
    return padded.reshape(padded.shape[0] // cell, cell, padded.shape[1] // cell, cell)


def divide_by_paper(grey: Grey, share: float) -> Grey:
    """Divide by the brightness of the paper around each pixel, so that shadows vanish and ink remains.

    The paper is a smooth surface laid over the picture, which is right up to the edges, times a grey closing
    (the lightest value nearby, then the darkest of those), which follows everything wider than its window.

    Args:
        grey: (height, width) float32 in [0, 1], dark on light.
        share: The window, as a share of the longer side.

    Returns:
        (height, width) float32: the share of the paper's light that is missing, at most 1. Paper is 0, with
        its grain on both sides.
    """
    cells = _cell_means(grey)
    window = 2 * round(share * max(cells.shape) / 2) + 1
    surface = upper_surface(cells)
    paper = _running(np.minimum, _running(np.maximum, cells / surface, window), window) * surface
    smooth = Image.fromarray(paper).resize((grey.shape[1], grey.shape[0]), Image.Resampling.BILINEAR)
    ink = 1 - grey / np.maximum(np.asarray(smooth), 0.05)
    level = np.percentile(near_paper(ink), 50)  # the lightest cell is lighter than the paper by its grain
    flat: Grey = (ink - level) / (1 - level)
    return flat


def near_paper(ink: Grey) -> Grey:
    """Choose the pixels that tell the paper's level and grain, at most one in five of them."""
    sample = ink.ravel()[::5]
    near = sample[sample < _PAPER_DEPTH]
    return near if near.size else np.zeros(1, np.float32)


def upper_surface(cells: Grey) -> Grey:
    """Fit a quadratic surface to the light cells: least squares in which being above costs 100 times less.

    Source: W. Newey, J. Powell, "Asymmetric least squares estimation and testing", 1987.

    Returns:
        Of the shape of `cells`, float32, at least 0.05.
    """
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in cells.shape), indexing="ij")
    basis = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y])  # (6, height, width)
    step = math.ceil(max(cells.shape) / 32)  # so small that BLAS starts no threads, which cost more
    values = cells[::step, ::step].ravel().astype(np.float64)
    rough = basis[:, ::step, ::step].reshape(6, -1)
    weight = np.ones_like(values)
    for _ in range(8):
        weighted = rough * weight
        factors = np.linalg.lstsq(weighted @ rough.T, weighted @ values, rcond=1e-9)[0]
        weight = np.where(values >= factors @ rough, 1.0, 0.01)
    surface: Grey = (factors[:, None, None] * basis).sum(axis=0).clip(0.05, None).astype(np.float32)
    return surface


def _running(function: np.ufunc, values: Grey, window: int) -> Grey:
    """Slide a square window over `values`, edges repeated, and reduce it by `function`."""
    half = window // 2
    for axis in (0, 1):
        pad = [(half, half) if axis == a else (0, 0) for a in (0, 1)]
        views = np.lib.stride_tricks.sliding_window_view(np.pad(values, pad, mode="edge"), window, axis=axis)
        values = np.asarray(function.reduce(views, axis=-1), dtype=np.float32)
    return values
