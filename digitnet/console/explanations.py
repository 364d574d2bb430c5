"""An explained picture for people: what of it reads well as text, in 80 columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from digitnet.console.answers import prediction_line
from digitnet.console.diagrams import bar, encoding, matrix, print_beside, print_lines, print_text, print_wrapped, room
from digitnet.console.tables import print_pairs, print_record
from digitnet.drawing import decimals_apart, describe, draw_digit, fixed, signed

if TYPE_CHECKING:
    from torch import Tensor

    from digitnet.explain.image.counterfactual import Search
    from digitnet.explain.image.explanation import Explanation, Kernels

BAR = 24  # characters of the most errors, or fewer
BESIDE_BAR = 50  # characters
WIDEST_KERNEL = 7


def print_explanation(explanation: Explanation, figures: Sequence[Path], ascii_only: bool) -> None:
    """Show a picture, what each part of the network makes of it, and why the answer is what it is."""
    e = explanation
    assert e.prediction.prepared is not None
    print_text(prediction_line(e.prediction, 3))
    if e.prediction.prepared.steps:
        print_lines([describe(e.prediction.prepared.steps)])
    why = e.why
    print()
    print_text(f"The picture, and which pixels speak for {why.answer} (+, #) and for {why.rival} (-, =)")
    print_beside(draw_digit(e.pixels.numpy(), encoding(ascii_only)), draw_shares(why.between.shares), gap="    ")
    lead, total = why.between, why.between.rise - why.between.residual
    end = lead.start + lead.rise
    decimals = decimals_apart((0.0, end), 2)
    leads = (
        f"{why.answer} leads by {fixed(end, decimals)} logits, and by {fixed(lead.start, decimals)} on a black picture"
    )
    print_wrapped(f"{leads}; shares sum to {signed(total, decimals)}", 4)
    if e.kernels:
        print()
        _print_kernel(e.kernels)
    print()
    print_text("Part by part, down to the ten logits, and what a linear probe reads from each")
    _print_probes(e, ascii_only)
    print()
    print_pairs(*neighbour_pairs(e), *change_pairs(e.searches))
    if figures:
        print_pairs(("figures", f"{len(figures)} files, {figures[0]} to {figures[-1].name}"))


def draw_shares(shares: Tensor) -> list[str]:
    """Draw shares, (28, 28), in 14 lines of 28 characters: + or # for the answer, - or = for the rival."""
    halves = shares.view(14, 2, 28).sum(1)
    strongest = max(halves.abs().max().item(), 1e-9)
    signs = (halves / strongest).tolist()
    return ["".join(_sign(value) for value in row) for row in signs]


def _sign(value: float) -> str:
    if abs(value) < 0.05:
        return " "
    strong = abs(value) >= 0.4
    return ("#" if strong else "+") if value > 0 else ("=" if strong else "-")


def _print_kernel(kernels: Kernels) -> None:
    """Show one step of a kernel: the window that it answers highest, times the weights."""
    conv, index = kernels.convolution, kernels.chosen
    made = conv.maps[index]
    row, column = divmod(int(made.argmax()), made.shape[1])
    window, channel = conv.window(index, row, column), conv.loudest_input(index)
    many, side = conv.kernels.shape[1], conv.kernels.shape[2]
    part = "" if many == 1 else f", input {channel} of {many}"
    print_text(f"Kernel {index} of the {len(conv.kernels)} of {conv.name}{part}: where it answers highest")
    weights, covered = conv.kernels[index, channel].tolist(), window.covered[channel].tolist()
    if side < WIDEST_KERNEL:
        print_beside(matrix(covered, 2), ["x"], matrix(weights, 2), gap=" ")
    else:  # two of them are wider than 80 columns
        print_lines(matrix(weights, 2))
    bias = conv.biases[index].item()
    added = f", and with the bias {signed(bias, 3)} to {signed(window.total, 3)}" if bias else ""
    print_lines(
        [
            f"the {many * side * side:,} products sum to {signed(window.total - bias, 3)}{added}:",
            f"row {row}, column {column} of its map of {made.shape[0]} x {made.shape[1]}",
        ]
    )
    one, two, three, four = ("x".join(map(str, variant.size)) for variant in kernels.variants)
    print_lines([f"padding same, stride 1 and 2: {one}, {two}; padding valid: {three}, {four}"])
    if not any(variant.is_of(conv) for variant in kernels.variants):
        print_lines(
            [f"padding and stride of this network, {conv.padding} and {conv.stride}: {'x'.join(map(str, made.shape))}"]
        )


def _print_probes(explanation: Explanation, ascii_only: bool) -> None:
    """Print a line for each part, with a bar for its errors where there is room for one."""
    rows = probe_rows(explanation)
    width, said = min(BAR, room() - BESIDE_BAR), "its errors" if room() >= BESIDE_BAR + 10 else "errors"
    if width < len("errors"):
        for name, shape, zeros, probe, _ in rows:
            print_record(("part", name), ("shape", shape), ("zeros", zeros), ("probe", probe))
    else:
        drawn = [(*row, bar(errors, width, encoding(ascii_only))) for *row, errors in rows]
        for name, shape, zeros, probe, errors in (("part", "shape", "zeros", "probe", said), *drawn):
            print_lines([f"{name:<20}{shape:<14}{zeros:>6}{probe:>8}  {errors}"])
    first, name = explanation.probes[0], explanation.references.name
    print_text(f"fitted on {first.fitted:,} training digits of {name}, measured on {first.measured:,} others", indent=2)


def probe_rows(explanation: Explanation) -> list[tuple[str, str, str, str, float]]:
    """Put each part into a row: name, shape, zeros, a probe's accuracy, its errors as a share of the most."""
    most = max(1 - probe.accuracy for probe in explanation.probes) or 1.0
    return [
        (
            probe.name,
            "x".join(map(str, probe.shape)),
            f"{explanation.zeros(probe.name):.0%}",
            f"{probe.accuracy:.1%}",
            (1 - probe.accuracy) / most,
        )
        for probe in explanation.probes
    ]


def neighbour_pairs(explanation: Explanation) -> list[tuple[str, str]]:
    """Name the labels of the nearest digits in each representation."""
    pairs: list[tuple[str, str]] = []
    for found in explanation.neighbours:
        digits = " ".join(str(one.digit) for one in found.nearest)
        pairs.append(("nearest" if not pairs else "", f"{digits} in {found.name}"))
    return pairs


def change_pairs(searches: Sequence[Search]) -> list[tuple[str, str]]:
    """Say the smallest change of each kind that changes the answer, or that there is none."""
    pairs: list[tuple[str, str]] = []
    for found in searches:
        said = f"{found.kind}: none of {found.tried:,} changes the answer"
        if found.change:
            said = f"{found.kind}, read as {found.change.answer}: {found.change.said}"
        pairs.append(("changes" if not pairs else "", said))
    return pairs
