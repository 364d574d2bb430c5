"""Figures of layers at work: kernels and their maps, padding and stride, a block from end to end, dense units."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.patches import Rectangle

from digitnet.drawing import fixed, signed
from digitnet.explain.activity import most_active, shares
from digitnet.explain.figures import GREEN, INK, figure_file, shape_text
from digitnet.explain.panels import SIGNS, blank, counted, show_numbers, show_signed, signed_limit, write_beside

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import Tensor

    from digitnet.explain.activity import Block, DenseUnit
    from digitnet.explain.image.convolution import Convolution, Variant
    from digitnet.explain.image.explanation import Explanation, Kernels
    from digitnet.explain.trace import Stage

PAIRS = 4  # kernels with their maps in a row
COLUMNS = 6  # maps in a row of a block


def draw_kernels(path: Path, kernels: Kernels) -> None:
    """Draw the kernels whose maps are the most active, each beside the map that it makes."""
    conv = kernels.convolution
    many, channels, side, _ = conv.kernels.shape
    left_out = many - len(kernels.shown)
    weight_limit = signed_limit(conv.kernels[list(kernels.shown)])
    map_limit = signed_limit(conv.maps[list(kernels.shown)])
    title = f"{conv.name}: {counted(many, 'kernel')} of {side} x {side}" + (f" x {channels}" if channels > 1 else "")
    source = (
        f"input {shape_text(conv.inputs.shape)}, kernels {shape_text(conv.kernels.shape)}, "
        f"maps {shape_text(conv.maps.shape)}\n{SIGNS}; weights from {-weight_limit:.2f} to {weight_limit:.2f}, "
        f"maps from {-map_limit:.2f} to {map_limit:.2f}\n"
        + (f"the {len(kernels.shown)} most active; {left_out} are left out" if left_out else "all of them")
        + ("" if channels == 1 else "; of each kernel, the slice whose input map adds the most")
    )
    rows = -(-len(kernels.shown) // PAIRS)
    with figure_file(path, title=title, source=source, height_in=1.75 * rows + 1.7) as figure:
        grid = figure.subplots(rows, 2 * PAIRS, squeeze=False).reshape(-1, 2)
        for (left, right), index in zip(grid, kernels.shown, strict=False):
            channel = conv.loudest_input(index)
            show_signed(left, conv.kernels[index, channel], weight_limit)
            left.set_title(f"kernel {index}" + (f", input {channel}" if channels > 1 else ""), fontsize=11)
            show_signed(right, conv.maps[index], map_limit)
            right.set_title(f"makes map {index}", fontsize=11)
        for axes in grid[len(kernels.shown) :].reshape(-1):
            blank(axes)


def draw_windows(path: Path, kernels: Kernels) -> None:
    """Draw what one kernel makes of the same input with padding same and valid, stride 1 and 2, on one scale."""
    conv = kernels.convolution
    side, channel = conv.kernels.shape[2], conv.loudest_input(kernels.chosen)
    limit = signed_limit(*[variant.map for variant in kernels.variants if variant.map is not None])
    title = f"{conv.name}, kernel {kernels.chosen} ({side} x {side}): padding and stride"
    source = (
        f"input {shape_text(conv.inputs.shape)}; pixels are of one size; {SIGNS}, from {-limit:.2f} to {limit:.2f}\n"
        "side of a map = (side of the input + 2 x padding - side of the kernel) / stride, rounded down, + 1"
    )
    if not any(variant.is_of(conv) for variant in kernels.variants):
        source = f"this network: {_own_size(conv)}, which is none of the four\n{source}"
    with figure_file(path, title=title, source=source, height_in=10.2) as figure:
        grid = figure.subplots(2, 3)
        _draw_input(grid[0, 0], conv, channel)
        _draw_kernel(grid[1, 0], conv.kernels[kernels.chosen, channel])
        for place, variant in enumerate(kernels.variants):
            _draw_variant(grid[place // 2, place % 2 + 1], conv, variant, limit)


def _own_size(conv: Convolution) -> str:
    """Say what padding and stride a convolution has itself, and the size of the maps that it makes."""
    name = "same" if conv.padding else "valid"
    return f"padding {name}, stride {conv.stride}, makes {shape_text(conv.maps.shape[1:])}"


def _draw_input(axes: Axes, conv: Convolution, channel: int) -> None:
    """Draw a map of the input, with the margin of padding same and the first window on it."""
    side, size = conv.kernels.shape[2], conv.inputs.shape[1]
    margin, span = side // 2, size + 2 * (side // 2)
    axes.imshow(conv.inputs[channel].numpy(), cmap=INK)
    said = "the input" if len(conv.inputs) == 1 else f"input map {channel}, which adds the most"
    axes.set_title(f"{said}: {size} x {size}\ndashed: padding same; green: its first window", fontsize=12)
    corner = (-margin - 0.5, -margin - 0.5)
    axes.add_patch(Rectangle(corner, span, span, fill=False, clip_on=False, edgecolor="gray", linestyle="--"))
    axes.add_patch(Rectangle(corner, side, side, fill=False, clip_on=False, edgecolor=GREEN, linewidth=2))
    _frame(axes, size, span)


def _draw_kernel(axes: Axes, weights: Tensor) -> None:
    """Draw a kernel, (k, k), with its numbers."""
    show_numbers(axes, weights, decimals=2, fontsize=80 / len(weights))
    axes.set_title("the kernel\n(enlarged)", fontsize=12)


def _draw_variant(axes: Axes, conv: Convolution, variant: Variant, limit: float) -> None:
    side, size = conv.kernels.shape[2], conv.inputs.shape[1]
    name = "same" if variant.padding else "valid"
    mine = variant.is_of(conv)
    made = "the kernel does not fit" if variant.map is None else f"makes {shape_text(variant.size)}"
    axes.set_title(
        f"padding {name}, stride {variant.stride}: {made}\n"
        f"({size} + 2 x {variant.padding} - {side}) / {variant.stride} + 1" + (", this network" if mine else ""),
        fontsize=12,
        fontweight="bold" if mine else "normal",
    )
    if variant.map is not None:
        show_signed(axes, variant.map, limit)
    _frame(axes, variant.size[0], size + 2 * (side // 2))


def _frame(axes: Axes, size: int, span: int) -> None:
    """Give axes ``span`` pixels each way, with the ``size`` pixels of a map in the middle."""
    margin = (span - size) / 2
    axes.set_xlim(-margin - 0.5, size + margin - 0.5)
    axes.set_ylim(size + margin - 0.5, -margin - 0.5)
    axes.set_aspect("equal")
    axes.set_axis_off()


def draw_block(path: Path, block: Block) -> None:
    """Draw the most active maps of a part of a block after each of its layers, in the order that the picture takes."""
    active = most_active(block.output, COLUMNS)
    maps = len(block.output)
    title = f"{block.name}: " + ", then ".join(_plain(stage.layer.kind) for stage in block.stages)
    left_out = f"the {len(active)} most active of {maps} maps; {maps - len(active)} are left out"
    source = (
        f"input {shape_text(block.stages[0].inputs.shape)}, output {shape_text(block.output.shape)}; "
        + (left_out if maps > len(active) else f"all of {counted(maps, 'map')}")
        + f"\n{SIGNS}; each row has its own scale"
    )
    with figure_file(path, title=title, source=source, height_in=1.75 * len(block.stages) + 1.5) as figure:
        grid = figure.add_gridspec(len(block.stages), COLUMNS + 1, width_ratios=[1.35, *[1] * COLUMNS])
        for row, stage in enumerate(block.stages):
            write_beside(figure.add_subplot(grid[row, 0]), _stage_lines(stage))
            limit = signed_limit(stage.output[active])
            for column, index in enumerate(active):
                axes = figure.add_subplot(grid[row, column + 1])
                show_signed(axes, stage.output[index], limit)
                if row == 0:
                    axes.set_title(f"map {index}")


def _stage_lines(stage: Stage) -> list[str]:
    share = shares(stage)
    lines = [stage.layer.name.rpartition(".")[2], stage.layer.kind, shape_text(stage.output.shape)]
    if share.after < share.before and "Pool" in stage.layer.kind:
        lines.append(f"keeps {share.after / share.before:.0%} of the numbers")
    if share.zeros > 0:
        lines.append(f"{share.zeros:.0%} are 0")
    return lines


def _plain(kind: str) -> str:
    """Say in words what a kind of layer does."""
    words = {"Conv2d": "convolution", "MaxPool2d": "max pooling", "AvgPool2d": "average pooling"}
    words |= {"BatchNorm2d": "batch normalisation", "Identity": "no activation"}
    return words.get(kind.split(maxsplit=1)[0], kind.split(maxsplit=1)[0])


def draw_units(path: Path, explanation: Explanation) -> None:
    """Draw the weights of an MLP's most active units, and what they make of the picture, pixel by pixel."""
    units = explanation.units
    stage = next(stage for stage in explanation.stages if stage.layer.kind == "Linear")
    many = stage.layer.output_shape[0]
    source = f"{stage.layer.name}: input 784 = 28 x 28 normalised pixels, output {many}; {SIGNS}\n" + (
        f"the {len(units)} most active units; {many - len(units)} are left out" if many > len(units) else "all units"
    )
    columns = 5 if len(units) > 8 else 4
    rows = -(-len(units) // columns)
    weight_limit = signed_limit(*[unit.weights for unit in units])
    product_limit = signed_limit(*[unit.products for unit in units])
    with figure_file(
        path, title=f"{stage.layer.name}: each unit weighs every pixel", source=source, height_in=7 * rows
    ) as f:
        grid = f.subplots(2 * rows, columns, squeeze=False)
        for place, unit in enumerate(units):
            row, column = 2 * (place // columns), place % columns
            upper, lower = grid[row, column], grid[row + 1, column]
            show_signed(upper, unit.weights, weight_limit)
            upper.set_title(f"unit {unit.index}: 28 x 28 weights")
            show_signed(lower, unit.products, product_limit)
            lower.set_title("\n".join(_unit_lines(unit)), fontsize=12)
        for axes in grid[-2:, len(units) - columns * (rows - 1) :].reshape(-1):
            blank(axes)


def _unit_lines(unit: DenseUnit) -> list[str]:
    bias = f"bias {signed(unit.bias)}, " if unit.bias else ""
    return [f"products sum to {signed(unit.total - unit.bias)}", f"{bias}makes {fixed(unit.output)}"]
