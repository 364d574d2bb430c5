"""Digits and other arrays drawn in the terminal; numbers, and what was done to a picture, put into text."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from digitnet.pictures import Digit, Steps

_TURNS = {  # how each EXIF orientation was undone. Source: CIPA DC-008 (Exif 2.32), section 4.6.4.
    2: "mirrored by EXIF",
    3: "turned 180 degrees by EXIF",
    4: "mirrored and turned 180 degrees by EXIF",
    5: "mirrored and turned 270 degrees by EXIF",
    6: "turned 90 degrees by EXIF",
    7: "mirrored and turned 90 degrees by EXIF",
    8: "turned 270 degrees by EXIF",
}
_HALVES = " \u2580\u2584\u2588"  # by: upper half + 2 * lower half
_LEVELS = " .:-=+*#%@"
_SHADES = " \u2591\u2592\u2593\u2588"


def draw_digit(pixels: Digit, encoding: str | None) -> list[str]:
    """Draw a digit in 14 lines of 28 characters.

    Args:
        pixels: (28, 28) uint8, light on black.
        encoding: Of the stream to draw on: half blocks, two pixels in a character, where it has them; else ASCII,
            darker with more ink.
    """
    upper, lower = pixels[::2].astype(int), pixels[1::2].astype(int)
    if has_blocks(encoding):
        codes = (upper >= 128) + 2 * (lower >= 128)
        return ["".join(_HALVES[code] for code in row) for row in codes.tolist()]
    levels = (upper + lower) * len(_LEVELS) // (2 * 255 + 1)
    return ["".join(_LEVELS[level] for level in row) for row in levels.tolist()]


def draw_shades(values: npt.NDArray[np.floating], encoding: str | None) -> list[str]:
    """Draw each number as two characters, a square or so: the more of it, the more ink.

    Args:
        values: (height, width) in [0, 1].
        encoding: As for ``draw_digit``; ASCII has ten levels, block characters five.
    """
    levels = _SHADES if has_blocks(encoding) else _LEVELS
    codes = (values * len(levels)).astype(int).clip(0, len(levels) - 1)
    return ["".join(2 * levels[code] for code in row) for row in codes.tolist()]


def has_blocks(encoding: str | None) -> bool:
    """Say whether an encoding has block characters."""
    try:
        _HALVES.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def fixed(value: float | np.floating, decimals: int = 2) -> str:
    """Put a number into text with so many decimals; what rounds to nought has no sign."""
    return f"{round(float(value), decimals) + 0.0:.{decimals}f}"  # + 0.0 makes 0 of -0


def signed(value: float | np.floating, decimals: int = 2) -> str:
    """Put a number into text with its sign, + for nought, and so many decimals."""
    return f"{round(float(value), decimals) + 0.0:+.{decimals}f}"


def decimals_apart(values: Iterable[float], least: int) -> int:
    """Return how many decimals tell numbers apart: three digits of what lies between them, from `least` to 5."""
    values = list(values)
    spread = max(values) - min(values)
    return min(max(2 - math.floor(math.log10(spread)), least), 5) if spread else least


def probability_text(prob: float) -> str:
    """Put a probability into per cent; no network is certain, so none is 0 or 100."""
    return ">99.99%" if prob > 0.9999 else "<0.01%" if prob < 0.0001 else f"{prob:.2%}"


def describe(steps: Steps) -> str:
    """Say in a line what was found in a picture and what was done to it."""
    done: list[str] = [steps.polarity]
    if steps.orientation in _TURNS:
        done.append(_TURNS[steps.orientation])
    if steps.mnist_form:
        done.append("an MNIST image already, left alone")
    if steps.on_sheet:
        done.append("cropped to the sheet" + (f", turned by {-steps.tilt:+.0f} degrees" if steps.tilt else ""))
    if steps.ink_box is not None:
        done.append(f"ink {steps.ink_box[0]}x{steps.ink_box[1]} px")
    if steps.stroke is not None and steps.drawn_stroke is not None:
        before, after = f"{steps.stroke:.1f}", f"{steps.drawn_stroke:.1f}"
        done.append(f"stroke {before} px" if before == after else f"stroke {before} to {after} px")
    counts = {"line": steps.lines, "outline": steps.outlines, "bar": steps.bars, "speck": steps.specks}
    done += [f"{count} {noun}{'' if count == 1 else 's'} removed" for noun, count in counts.items() if count]
    return ", ".join(done)
