"""Every mode that Pillow knows, made smaller and brought to grey: transparency, colours, deep and odd numbers."""

import numpy as np
import numpy.typing as npt
from PIL import Image

_STRIP_PIXELS = 4_000_000


def reduce_to(picture: Image.Image, side: int) -> Image.Image:
    """Average whole blocks of pixels until the longer side is below twice `side`.

    It works in strips, so that a full copy in another mode is never in memory.

    Returns:
        A picture in mode L, RGB, RGBA or F.
    """
    factor = max(picture.size) // side
    if factor <= 1:
        return _plain(picture)
    width, height = picture.size
    rows = max(1, _STRIP_PIXELS // width // factor) * factor
    strips = [
        _plain(picture.crop((0, top, width, min(top + rows, height)))).reduce(factor) for top in range(0, height, rows)
    ]
    small = Image.new(strips[0].mode, (strips[0].width, sum(strip.height for strip in strips)))
    for index, strip in enumerate(strips):
        small.paste(strip, (0, index * strips[0].height))
    return small


def _plain(picture: Image.Image) -> Image.Image:
    """Convert any mode to one whose pixels can be averaged: L, RGB, RGBA or F."""
    if picture.mode.startswith(("I", "F")):
        return picture if picture.mode == "F" else picture.convert("I").convert("F")
    if picture.mode == "La":  # which Pillow converts to LA alone
        picture = picture.convert("LA")
    if picture.has_transparency_data:
        return picture if picture.mode == "RGBA" else picture.convert("RGBA")
    if picture.mode in ("L", "RGB"):
        return picture
    return picture.convert("L" if picture.mode == "1" else "RGB")


def grey(picture: Image.Image) -> npt.NDArray[np.float32]:
    """Bring a picture to grey.

    Args:
        picture: Mode L, RGB, RGBA or F.

    Returns:
        (height, width) float32 in [0, 1]. What is transparent lies over white, or over black if it would
        vanish there (white ink on nothing).
    """
    if picture.mode == "F":
        return _unit_range(np.asarray(picture, dtype=np.float32))
    if picture.mode == "RGBA":
        picture = _over_paper(picture)
    if picture.mode == "RGB":
        picture = _clearest_band(picture)
    return np.asarray(picture, dtype=np.float32) / np.float32(255)


def _over_paper(picture: Image.Image) -> Image.Image:
    """Lay an RGBA picture over white, or over black if nothing would show; returns RGB."""
    for paper in ("white", "black"):
        flat = Image.alpha_composite(Image.new("RGBA", picture.size, paper), picture).convert("RGB")
        if max(_contrast(band) for band in flat.split()) > 25:
            break
    return flat


def _clearest_band(picture: Image.Image) -> Image.Image:
    """Return the luminance of an RGB picture, or a colour if luminance hides the ink: yellow on white, say."""
    luminance = picture.convert("L")
    colour = max(picture.split(), key=_contrast)
    faint = _contrast(luminance) < 100
    return colour if faint and _contrast(colour) > 1.5 * _contrast(luminance) else luminance


def _contrast(band: Image.Image) -> int:
    darkest, lightest = band.getextrema()
    return int(lightest) - int(darkest)  # type: ignore[arg-type]  # a pair of numbers for a single band


def _unit_range(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Bring numbers of unknown range to [0, 1]: 1, 255 or 65535 is white, whichever fits first.

    Where some are negative no such habit is known: the lowest is black, the highest white.
    """
    values = np.nan_to_num(values, posinf=0, neginf=0)
    lowest, highest = float(values.min()), float(values.max())
    if lowest < 0:
        return (values - np.float32(lowest)) / np.float32(max(highest - lowest, 1e-6))
    white = next((limit for limit in (1, 255, 65535) if highest <= limit), highest)
    return values / np.float32(white)
