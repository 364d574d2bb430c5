"""Figures of the answer: how much layers know, which pixels speak for it, what is like it, what would change it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from digitnet.drawing import decimals_apart, signed
from digitnet.explain.figures import BLUE, GREEN, RED, figure_file, shape_text
from digitnet.explain.panels import SIGNS, blank, show_ink, show_signed, signed_limit, write_beside
from digitnet.models import to_float

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import Tensor

    from digitnet.explain.image.attribution import Attribution
    from digitnet.explain.image.counterfactual import Search
    from digitnet.explain.image.explanation import Explanation
    from digitnet.explain.image.neighbours import Neighbours
    from digitnet.explain.image.probe import ProbeResult

MOST_NAMES = 14  # beside the points of a line


def draw_probes(path: Path, explanation: Explanation) -> None:
    """Draw how well a linear layer reads digits from each representation, as a line."""
    probes = explanation.probes
    pooled = any(probe.pooled for probe in probes)
    source = (
        f"each point: ridge regression fitted on {probes[0].fitted:,} training digits ({explanation.references.name}), "
        f"measured on {probes[0].measured:,} others,\non which the network was not trained; bars: 95 % intervals"
        + ("; in brackets: the shape that maps were averaged to for the probe" if pooled else "")
    )
    places = range(len(probes))
    shares = [100 * probe.accuracy for probe in probes]
    below = [100 * (probe.accuracy - probe.interval[0]) for probe in probes]
    above = [100 * (probe.interval[1] - probe.accuracy) for probe in probes]
    title = "How much each layer knows: the accuracy of a linear probe on it"
    with figure_file(path, title=title, source=source, height_in=6.5) as figure:
        axes = figure.subplots()
        axes.errorbar(places, shares, yerr=[below, above], marker="o", color=BLUE, capsize=4, linewidth=2)
        named = _spread(len(probes))
        for place in named:
            top = (place, shares[place] + above[place])
            axes.annotate(f"{shares[place]:.1f}", top, xytext=(0, 6), textcoords="offset points", ha="center")
        crowded = len(probes) > 8
        axes.set_xticks(named, [_probe_label(probes[i]) for i in named], rotation=90 if crowded else 0, fontsize=10)
        axes.set_ylabel("accuracy in %")
        axes.margins(y=0.12)
        axes.grid(axis="y", alpha=0.3)


def _spread(count: int) -> list[int]:
    """Choose which of many points have their names and numbers written beside them, the first and the last too."""
    return sorted({round(i * (count - 1) / (MOST_NAMES - 1)) for i in range(MOST_NAMES)})


def _probe_label(probe: ProbeResult) -> str:
    pooled = f"\n[{shape_text(probe.pooled)}]" if probe.pooled else ""
    return f"{probe.name}\n{shape_text(probe.shape)}{pooled}"


def draw_why(path: Path, explanation: Explanation) -> None:
    """Draw which pixels speak for the answer and which for the runner-up."""
    why, image = explanation.why, to_float(explanation.pixels)
    most = max(abs(one.residual) for one in why.attributions)
    title = f"Which pixels speak for {why.answer}, and which for the runner-up {why.rival}"
    source = (
        "integrated gradients of head.output, 10 logits, by 1 x 28 x 28 pixels: the shares sum to the logit's rise,\n"
        f"here to within {most:.2g}; purple: speaks for, orange: speaks against"
    )
    with figure_file(path, title=title, source=source, height_in=10.4) as figure:
        axes = figure.subplots(2, 3)
        show_ink(axes[0, 0], image)
        axes[0, 0].set_title(f"the picture: {_logits(why.answer, why.rival, explanation)}", fontsize=12)
        show_ink(axes[1, 0], why.mean[0])
        axes[1, 0].set_title("the average training digit", fontsize=12)
        alone = (why.for_answer, why.for_rival)
        limit = signed_limit(*[one.shares for one in alone])
        for place, one in zip((axes[0, 1], axes[0, 2]), alone, strict=True):
            _draw_shares(place, one, image, limit, f"for {one.answer}, against a black picture")
        for place, one, said in (
            (axes[1, 1], why.between, "against a black picture"),
            (axes[1, 2], why.against_mean, "against the average digit"),
        ):
            _draw_shares(place, one, image, signed_limit(one.shares), f"for {one.answer} over {one.rival}, {said}")


def _logits(answer: int, rival: int, explanation: Explanation) -> str:
    logits = explanation.representation[-1].features[0]
    one, other = logits[answer].item(), logits[rival].item()
    decimals = decimals_apart((one, other), 1)
    return f"logit of {answer} {signed(one, decimals)}, of {rival} {signed(other, decimals)}"


def _draw_shares(axes: Axes, found: Attribution, image: Tensor, limit: float, said: str) -> None:
    """Draw shares, with the outline of the ink; below it what they explain."""
    show_signed(axes, found.shares, limit)
    axes.contour(image.numpy(), levels=[0.5], colors="black", linewidths=0.8)
    axes.set_title(said, fontsize=12)
    start, end, total = found.start, found.start + found.rise, found.rise - found.residual
    decimals = decimals_apart((start, end), 2)
    shown, reached, summed = (signed(value, decimals) for value in (start, end, total))
    axes.set_xlabel(f"{shown} to {reached}: the shares sum to {summed}", fontsize=11 if decimals < 4 else 9)


def draw_neighbours(path: Path, explanation: Explanation) -> None:
    """Draw the training digits that are nearest in the last hidden layer, and in the pixels."""
    rows, fit = explanation.neighbours, explanation.references.fit
    source = (
        f"the nearest of {rows[0].searched:,} training digits ({explanation.references.name}), by Euclidean distance "
        f"in {' and in '.join(row.name for row in rows)}\ngreen: labelled as the answer is; orange: labelled otherwise"
    )
    title = "The training digits that are nearest to the picture"
    with figure_file(path, title=title, source=source, height_in=1.75 * len(rows) + 1.4) as figure:
        grid = figure.add_gridspec(len(rows), len(rows[0].nearest) + 2)
        for row, found in enumerate(rows):
            places = [figure.add_subplot(grid[row, column]) for column in range(len(found.nearest) + 2)]
            write_beside(places[0], ["nearest in", *found.name.split("."), f"({_size(explanation, found)})"])
            show_ink(places[1], to_float(explanation.pixels))
            places[1].set_title("picture", fontsize=11)
            for axes, neighbour in zip(places[2:], found.nearest, strict=True):
                show_ink(axes, to_float(fit.images[neighbour.index, 0]))
                colour = GREEN if neighbour.digit == explanation.prediction.digit else RED
                axes.set_title(f"{neighbour.digit}", fontsize=13, color=colour, fontweight="bold")
                axes.set_xlabel(f"{neighbour.distance:.2f}", fontsize=10)


def _size(explanation: Explanation, found: Neighbours) -> str:
    one = next(one for one in explanation.representation if one.name == found.name)
    return shape_text(one.shape) + (f", averaged to {shape_text(one.pooled)}" if one.pooled else "")


def draw_changes(path: Path, explanation: Explanation) -> None:
    """Draw the smallest shift and strokes that change the answer."""
    image = to_float(explanation.pixels)
    title = f"The smallest change after which it is not read as {explanation.prediction.digit}"
    source = (
        "each changed picture, 1 x 28 x 28, was read by the network, the smallest change first; places: (row, column)\n"
        f"below: what was changed; {SIGNS}"
    )
    rows = 2 if any(found.change for found in explanation.searches) else 1
    with figure_file(path, title=title, source=source, height_in=4.3 * rows) as figure:
        axes = figure.subplots(rows, 1 + len(explanation.searches), squeeze=False)
        show_ink(axes[0, 0], image)
        axes[0, 0].set_title(f"the picture, read as {explanation.prediction.digit}", fontsize=12)
        for column, found in enumerate(explanation.searches, start=1):
            _draw_search(axes[0, column], found, image)
        for below, search in zip(axes[1:].reshape(-1), (None, *explanation.searches), strict=False):
            if search and search.change:
                show_signed(below, search.change.image - image, 1.0)
            else:
                blank(below)


def _draw_search(axes: Axes, found: Search, image: Tensor) -> None:
    if found.change is None:
        show_ink(axes, image)
        axes.set_title(f"{found.kind}: none", fontsize=12)
        axes.set_xlabel(f"none of {found.tried:,} changes it:\n{_broken(found.reach)}", fontsize=10)
        return
    show_ink(axes, found.change.image)
    axes.set_title(f"{found.kind}: read as {found.change.answer}", fontsize=12)
    size = "" if found.kind == "shift" else f"\n{found.change.size:.1f} pixels of ink"
    axes.set_xlabel(f"{_broken(found.change.said)}{size}", fontsize=10)


def _broken(text: str) -> str:
    """Break a line in two near its middle."""
    if len(text) < 30:
        return text
    middle = min((i for i, letter in enumerate(text) if letter == " "), key=lambda i: abs(i - len(text) / 2))
    return f"{text[:middle]}\n{text[middle + 1 :]}"
