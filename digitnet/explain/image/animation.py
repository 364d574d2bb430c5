"""A convolution as an animated GIF: the window slides, its products are summed, and the feature map fills.

Every position is computed; those of one row are shown one by one, and of each other row the last.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.font_manager import findfont
from PIL import Image, ImageColor, ImageDraw, ImageFont

from digitnet.atomic import write_atomically
from digitnet.drawing import fixed, signed
from digitnet.explain.figures import GREEN, INK, SIGNED, shape_text
from digitnet.explain.image.convolution import Convolution, Window
from digitnet.explain.panels import signed_limit

WIDTH, HEIGHT = 1200, 800
MAP_SIDE = 392  # of the input and of the feature map, at most
GRID_SIDE = 238  # of the three grids of numbers
STEP_MS, ROW_MS, END_MS = 350, 120, 3_000

Values = npt.NDArray[np.float32]


def positions(convolution: Convolution, kernel: int) -> list[tuple[int, int]]:
    """Return the positions to show, (row, column) of the feature map: all of its liveliest row, the last of others."""
    made = convolution.maps[kernel]
    liveliest = int(made.std(1, correction=0).argmax())
    height, width = made.shape
    return [(row, column) for row in range(height) for column in (range(width) if row == liveliest else (width - 1,))]


def save_animation(path: Path, convolution: Convolution, kernel: int) -> int:
    """Draw a kernel at work, and save it as GIF.

    Returns:
        How many positions are shown.

    Raises:
        OSError: The file cannot be written.
    """
    shown = positions(convolution, kernel)
    palette = _palette()
    frames = [
        frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in _frames(convolution, kernel, shown)
    ]
    counts = [sum(other == row for other, _ in shown) for row, _ in shown]
    pauses = [STEP_MS if count > 1 else ROW_MS for count in counts]
    data = io.BytesIO()
    frames[0].save(data, format="GIF", save_all=True, append_images=frames[1:], duration=[*pauses[:-1], END_MS], loop=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, data.getvalue())
    return len(shown)


def save_step(path: Path, convolution: Convolution, kernel: int) -> None:
    """Draw the step at which a kernel answers highest, and save it as PNG: the animation, held still.

    Raises:
        OSError: The file cannot be written.
    """
    made = convolution.maps[kernel]
    highest = divmod(int(made.argmax()), made.shape[1])
    (frame,) = _frames(convolution, kernel, [highest])
    data = io.BytesIO()
    frame.quantize(palette=_palette(), dither=Image.Dither.NONE).save(data, format="PNG")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, data.getvalue())


def _frames(conv: Convolution, kernel: int, shown: list[tuple[int, int]]) -> Iterator[Image.Image]:
    """Draw a frame for each position."""
    channel = conv.loudest_input(kernel)
    height, width = conv.maps.shape[1:]
    inputs = conv.padded[channel].numpy()
    pixels = conv.inputs.shape[0] == 1
    coloured = _grey(inputs) if pixels else _signed(inputs, signed_limit(conv.padded))
    made = conv.maps[kernel].numpy()
    colours = _signed(made, signed_limit(conv.maps[kernel]))
    for row, column in shown:
        window = conv.window(kernel, row, column)
        image = Image.new("RGB", (WIDTH, HEIGHT), "white")
        draw = ImageDraw.Draw(image)
        step = row * width + column + 1
        _write(draw, (WIDTH // 2, 24), f"{conv.name}, kernel {kernel}: step {step} of {height * width}", 24)
        side = conv.kernels.shape[2]
        _paste_map(image, draw, (110, 90), coloured, (window.top, window.left, side))
        source = "input, normalised" if pixels else f"input map {channel} of {len(conv.inputs)}"
        padding = f", padded by {conv.padding}" if conv.padding else ""
        _write(draw, (110 + MAP_SIDE // 2, 66), f"{source}: {shape_text(conv.inputs.shape[1:])}{padding}", 17)
        filled = np.where((np.arange(height * width) < step).reshape(height, width)[:, :, None], colours, 225)
        _paste_map(image, draw, (700, 90), filled.astype(np.uint8), (row, column, 1))
        _write(draw, (700 + MAP_SIDE // 2, 66), f"feature map {kernel}: {height} x {width}", 17)
        _draw_sum(draw, conv, kernel, channel, window)
        yield image


def _draw_sum(draw: ImageDraw.ImageDraw, conv: Convolution, kernel: int, channel: int, window: Window) -> None:
    """Draw window x kernel = products in numbers, and their sum."""
    many = len(conv.inputs)
    products = window.products.sum(0).numpy()
    grids = (
        (f"window{'' if many == 1 else f' in map {channel}'}", window.covered[channel].numpy(), conv.padded),
        (f"kernel{'' if many == 1 else f' for map {channel}'}", conv.kernels[kernel, channel].numpy(), conv.kernels),
        ("products" if many == 1 else f"products, summed over {many} maps", products, window.products.sum(0)),
    )
    for place, (said, values, scale) in enumerate(grids):
        left = 60 + place * (GRID_SIDE + 50)
        _write(draw, (left + GRID_SIDE // 2, 512), said, 16)
        _draw_grid(draw, (left, 528), values, signed_limit(scale))
        if place:
            _write(draw, (left - 25, 528 + GRID_SIDE // 2), " x="[place], 26)
    bias = conv.biases[kernel].item()
    total = window.total - bias
    lines = ["sum of the", "products", signed(total, 3)]
    lines += [f"bias {signed(bias, 3)}", f"= {signed(window.total, 3)}"] if bias else []
    for place, line in enumerate(lines):
        _write(draw, (1040, 560 + 38 * place), line, 24 if line.startswith("=") else 20)


def _draw_grid(draw: ImageDraw.ImageDraw, corner: tuple[int, int], values: Values, limit: float) -> None:
    """Draw numbers in coloured cells."""
    cell = GRID_SIDE // len(values)
    colours = _signed(values, limit)
    for (row, column), value in np.ndenumerate(values):
        left, top = corner[0] + column * cell, corner[1] + row * cell
        colour = tuple(colours[row, column].tolist())
        draw.rectangle((left, top, left + cell - 2, top + cell - 2), fill=colour, outline="#bbbbbb")
        text = "white" if sum(colour) < 380 else "black"
        _write(draw, (left + cell // 2, top + cell // 2), fixed(value), max(11, min(20, cell // 3)), text)


def _paste_map(
    image: Image.Image,
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    colours: npt.NDArray[np.uint8],
    window: tuple[int, int, int],
) -> None:
    """Draw a map, (H, W, 3), with a green frame round a window: its top, left and side."""
    cell = max(1, MAP_SIDE // max(colours.shape[:2]))
    height, width = colours.shape[0] * cell, colours.shape[1] * cell
    left, top = corner[0] + (MAP_SIDE - width) // 2, corner[1] + (MAP_SIDE - height) // 2
    image.paste(Image.fromarray(colours).resize((width, height), Image.Resampling.NEAREST), (left, top))
    draw.rectangle((left - 1, top - 1, left + width, top + height), outline="#888888")
    y, x, side = window
    box = (left + x * cell - 1, top + y * cell - 1, left + (x + side) * cell, top + (y + side) * cell)
    draw.rectangle(box, outline=GREEN, width=3)


def _write(draw: ImageDraw.ImageDraw, middle: tuple[int, int], text: str, size: int, colour: str = "black") -> None:
    draw.text(middle, text, fill=colour, font=_font(size), anchor="mm")


def _palette() -> Image.Image:
    """Choose 256 colours for all frames: those of numbers, those of ink and text, and the frame's."""
    coloured = mpl.colormaps[SIGNED](np.linspace(0, 1, 155), bytes=True)[:, :3]
    grey = mpl.colormaps[INK](np.linspace(0, 1, 100), bytes=True)[:, :3]
    image = Image.new("P", (1, 1))
    image.putpalette([*coloured.reshape(-1).tolist(), *grey.reshape(-1).tolist(), *ImageColor.getrgb(GREEN)])
    return image


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(findfont("DejaVu Sans"), size)


def _signed(values: Values, limit: float) -> npt.NDArray[np.uint8]:
    """Colour numbers as the figures do: (H, W) to (H, W, 3)."""
    coloured: npt.NDArray[np.uint8] = mpl.colormaps[SIGNED]((values / limit + 1) / 2, bytes=True)[..., :3]
    return coloured


def _grey(values: Values) -> npt.NDArray[np.uint8]:
    low, high = float(values.min()), float(values.max())
    coloured: npt.NDArray[np.uint8] = mpl.colormaps[INK]((values - low) / ((high - low) or 1), bytes=True)[..., :3]
    return coloured
