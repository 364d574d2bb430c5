"""What all figures share: size, type, colours, what they say of themselves, and how they reach a file.

Nothing here or in what uses it imports pyplot or chooses a backend: a figure is an object of its own.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from digitnet.atomic import write_atomically
from digitnet.errors import DigitnetError

try:
    import matplotlib as mpl
    from cycler import cycler
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
except ModuleNotFoundError as error:
    if error.name != "matplotlib":
        raise
    raise DigitnetError("figures need matplotlib, which is missing; get it by: pip install matplotlib") from error

DPI = 100
WIDTH_IN = 12.0  # 1200 pixels
MARGIN = 0.01  # of the width and of the height: panels end there, and not at the very edge
# Source: Okabe and Ito, "Color universal design" (2008): told apart by people who see few colours, too.
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, RED, PURPLE = PALETTE = (
    "#000000", "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7",
)  # fmt: skip
INK = "gray"  # of images: light ink on black, as a network sees them
SIGNED = "PuOr"  # of what may be positive or negative: orange below 0, white at 0, purple above
AMOUNT = "viridis"  # of what has no sign
STYLE: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    "font.size": 12,  # points, of which 72 make an inch: 17 pixels
    "axes.titlesize": 13,
    "figure.titlesize": 16,
    "axes.prop_cycle": cycler(color=[BLUE, ORANGE, GREEN, RED, SKY, PURPLE, BLACK]),
    "image.interpolation": "nearest",
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@contextmanager
def figure_file(path: Path, *, title: str, source: str, height_in: float) -> Iterator[Figure]:
    """Yield an empty figure, 1200 pixels wide, and save it as PNG when all is drawn on it.

    Args:
        path: Where it goes; its folder is made where it is missing.
        title: What there is to see.
        source: The layers that the numbers come from, and their shapes; it stands below the figure.
        height_in: Height in inches of 100 pixels.

    Raises:
        OSError: The file cannot be written; what was there before is still there.
    """
    with mpl.rc_context(STYLE):  # which puts back what was set
        within = ConstrainedLayoutEngine(rect=(MARGIN, MARGIN, 1 - 2 * MARGIN, 1 - 2 * MARGIN))
        figure = Figure(figsize=(WIDTH_IN, height_in), dpi=DPI, layout=within)
        figure.suptitle(without_math(title))
        figure.supxlabel(without_math(source), fontsize=11, color="#444444")
        yield figure
        data = io.BytesIO()
        figure.savefig(data, format="png", metadata={"Software": None})  # the same bytes from the same numbers
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, data.getvalue())


def without_math(text: str) -> str:
    r"""Let matplotlib take a text as it is: a file may be called $\x$, which would be a formula, and a wrong one."""
    return text.replace("$", r"\$")


def shape_text(shape: Sequence[int]) -> str:
    """Put a shape into text: 10 x 784."""
    return " x ".join(map(str, shape))
