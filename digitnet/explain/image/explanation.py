"""Everything that is shown of one picture and one network, computed: what the figures and the summary are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from digitnet.errors import UsageError
from digitnet.explain.activity import DenseUnit, around, blocks, dense_units, most_active, shares
from digitnet.explain.image.attribution import Attribution, attribute
from digitnet.explain.image.convolution import (
    Convolution,
    Variant,
    choose_convolution,
    compare_windows,
    convolution_names,
    read_convolution,
)
from digitnet.explain.image.counterfactual import Search, find_changes
from digitnet.explain.image.neighbours import Neighbours, mean_digit, nearest_by_each
from digitnet.explain.image.probe import ProbeResult, probe_layers
from digitnet.explain.image.references import References
from digitnet.explain.trace import PIXELS, Representation, Stage, last_hidden, represent, trace
from digitnet.models import to_float
from digitnet.predictor import Classifier, Prediction

NEIGHBOURS = 10
MOST_MAPS = 16  # of a layer that are shown


@dataclass(frozen=True, kw_only=True, eq=False)
class Kernels:
    """The convolution that is looked at: an MLP has none."""

    convolution: Convolution
    shown: tuple[int, ...]
    """The kernels whose maps are the most active after the activation, these first; at most ``MOST_MAPS``."""
    chosen: int
    """The kernel that is shown step by step."""
    variants: tuple[Variant, ...]
    """Its maps with padding same and valid, stride 1 and 2."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Why:
    """Why the answer is this one, and not the runner-up."""

    answer: int
    rival: int
    mean: Tensor
    """The average of the training digits, (1, 28, 28) float32 in [0, 1]."""
    for_answer: Attribution
    """The answer's logit, against a black picture: only ink can speak."""
    for_rival: Attribution
    """The runner-up's logit, likewise."""
    between: Attribution
    """The lead over the runner-up, against a black picture."""
    against_mean: Attribution
    """The lead over the runner-up, against the average digit: gaps can speak, too."""

    @property
    def attributions(self) -> tuple[Attribution, ...]:
        """All four."""
        return self.for_answer, self.for_rival, self.between, self.against_mean


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanation:
    """One picture and one network, taken apart."""

    prediction: Prediction
    pixels: Tensor
    """(28, 28) uint8: what the network saw."""
    mean: float
    """What the network takes off each pixel in [0, 1], and"""
    std: float
    """what it divides by."""
    temperature: float
    """What the logits are divided by to make the probabilities, fitted on validation images."""
    stages: tuple[Stage, ...]
    kernels: Kernels | None
    """None for an MLP."""
    units: tuple[DenseUnit, ...]
    """The most active units of an MLP's first hidden layer, or its ten outputs; none for a CNN."""
    representation: tuple[Representation, ...]
    """Of the one picture."""
    probes: tuple[ProbeResult, ...]
    neighbours: tuple[Neighbours, ...]
    why: Why
    searches: tuple[Search, ...]
    references: References

    def zeros(self, part: str) -> float:
        """Return the share of exact zeros in what a part makes of the picture; it is named as in ``representation``."""
        if part == PIXELS:
            return (self.pixels == 0).float().mean().item()
        within = [stage for stage in self.stages if f"{stage.layer.name}.".startswith(f"{part}.")]
        return shares(within[-1]).zeros


def explain(
    classifier: Classifier,
    prediction: Prediction,
    references: References,
    *,
    layer: str | None = None,
    kernel: int | None = None,
) -> Explanation:
    """Take apart how a network reads one picture.

    Args:
        classifier: The network.
        prediction: Its answer, with what the network saw; not of a blank picture.
        references: The digits to compare with.
        layer: The convolution to look at; None is the first.
        kernel: Which of its kernels, from 0; None is the one whose map is the most active.

    Raises:
        UsageError: There is no such layer or kernel.
    """
    assert prediction.prepared is not None
    model, pixels = classifier.model, torch.from_numpy(prediction.prepared.pixels)
    stages = trace(model, pixels[None])
    chosen = _choose_kernels(classifier, stages, layer, kernel)
    mine = represent(model, pixels[None, None])
    fit, measure = (represent(model, part.images) for part in (references.fit, references.measure))
    return Explanation(
        prediction=prediction,
        pixels=pixels,
        mean=model.mean.item(),
        std=model.std.item(),
        temperature=classifier.checkpoint.calibration.temperature,
        stages=stages,
        kernels=chosen,
        units=() if chosen else _choose_units(classifier, stages),
        representation=mine,
        probes=probe_layers(fit, references.fit.targets, measure, references.measure.targets),
        neighbours=nearest_by_each(mine, fit, references.fit.targets, NEIGHBOURS, last_hidden(model)),
        why=_ask_why(classifier, prediction, pixels, mean_digit(references.fit.images)),
        searches=find_changes(model, to_float(pixels)),
        references=references,
    )


def _choose_kernels(
    classifier: Classifier, stages: Sequence[Stage], layer: str | None, kernel: int | None
) -> Kernels | None:
    if layer is None and kernel is None and not convolution_names(classifier.model):
        return None
    name = choose_convolution(classifier.model, layer)
    convolution = read_convolution(classifier.model, stages, name)
    count = len(convolution.kernels)
    if kernel is not None and not 0 <= kernel < count:
        raise UsageError(f"--kernel {kernel}: {name} has {count} kernels, which are counted from 0 to {count - 1}")
    shown = most_active(around(stages, name).output, MOST_MAPS)
    chosen = shown[0] if kernel is None else kernel
    return Kernels(
        convolution=convolution,
        shown=tuple(shown),
        chosen=chosen,
        variants=compare_windows(convolution, chosen),
    )


def _choose_units(classifier: Classifier, stages: Sequence[Stage]) -> tuple[DenseUnit, ...]:
    """Choose the most active units of an MLP's first layer: of a hidden one by what it makes in the end."""
    first = blocks(stages)
    output = first[0].output if first else stages[-1].output
    count = 10 if not first else MOST_MAPS // 2
    return dense_units(classifier.model, stages, most_active(output, count))


def _ask_why(classifier: Classifier, prediction: Prediction, pixels: Tensor, mean: Tensor) -> Why:
    (answer, _), (rival, _) = prediction.top(2)
    model, image = classifier.model, to_float(pixels[None])
    return Why(
        answer=answer,
        rival=rival,
        mean=mean,
        for_answer=attribute(model, image, answer),
        for_rival=attribute(model, image, rival),
        between=attribute(model, image, answer, rival),
        against_mean=attribute(model, image, answer, rival, baseline=mean),
    )
