"""What programs read of an explained picture: its JSON form. The fields are stable."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from digitnet.explain.activity import shares
from digitnet.explain.image.attribution import Attribution
from digitnet.explain.image.counterfactual import Search
from digitnet.explain.image.explanation import Explanation, Kernels
from digitnet.explain.image.neighbours import Neighbours
from digitnet.explain.image.probe import ProbeResult
from digitnet.explain.trace import Stage


def explanation_report(explanation: Explanation, checkpoint: Path, figures: Sequence[Path]) -> dict[str, Any]:
    """Describe everything that was computed; the large tensors are left to the figures."""
    e = explanation
    return {
        "path": e.prediction.path,
        "checkpoint": str(checkpoint),
        "digit": e.prediction.digit,
        "accepted": e.prediction.accepted,
        "reason": e.prediction.reason,
        "logits": e.representation[-1].features[0].tolist(),
        "temperature": e.temperature,
        "probs": list(e.prediction.probs),
        "pixels": e.pixels.tolist(),
        "normalisation": {"mean": e.mean, "std": e.std},
        "layers": [_layer(stage) for stage in e.stages],
        "kernel": _kernel(e.kernels) if e.kernels else None,
        "references": {"name": e.references.name, "fit": len(e.references.fit), "measure": len(e.references.measure)},
        "probes": [_probe(probe) for probe in e.probes],
        "neighbours": [_neighbours(found) for found in e.neighbours],
        "why": {
            "answer": _attribution(e.why.for_answer, "black"),
            "runner_up": _attribution(e.why.for_rival, "black"),
            "lead": _attribution(e.why.between, "black"),
            "lead_over_average": _attribution(e.why.against_mean, "average digit"),
        },
        "changes": [_search(found) for found in e.searches],
        "figures": [str(path) for path in figures],
    }


def _layer(stage: Stage) -> dict[str, Any]:
    layer = stage.layer
    return {"name": layer.name, "kind": layer.kind, "shape": list(layer.output_shape), "zeros": shares(stage).zeros}


def _probe(probe: ProbeResult) -> dict[str, Any]:
    return {
        "name": probe.name,
        "shape": list(probe.shape),
        "averaged_to": list(probe.pooled) if probe.pooled else None,
        "accuracy": probe.accuracy,
        "interval": list(probe.interval),
    }


def _neighbours(found: Neighbours) -> dict[str, Any]:
    digits, distances = [one.digit for one in found.nearest], [one.distance for one in found.nearest]
    return {"name": found.name, "searched": found.searched, "digits": digits, "distances": distances}


def _kernel(kernels: Kernels) -> dict[str, Any]:
    conv = kernels.convolution
    return {
        "layer": conv.name,
        "index": kernels.chosen,
        "weights": conv.kernels[kernels.chosen].tolist(),
        "bias": conv.biases[kernels.chosen].item(),
        "map": conv.maps[kernels.chosen].tolist(),
        "most_active": list(kernels.shown),
        "left_out": len(conv.kernels) - len(kernels.shown),
        "sizes": [
            {"padding": variant.padding, "stride": variant.stride, "size": list(variant.size)}
            for variant in kernels.variants
        ],
    }


def _attribution(found: Attribution, baseline: str) -> dict[str, Any]:
    return {
        "digit": found.answer,
        "over": found.rival,
        "baseline": baseline,
        "start": found.start,
        "rise": found.rise,
        "residual": found.residual,
        "shares": found.shares.tolist(),
    }


def _search(found: Search) -> dict[str, Any]:
    change = found.change
    return {
        "kind": found.kind,
        "reach": found.reach,
        "tried": found.tried,
        "digit": change.answer if change else None,
        "size": change.size if change else None,
        "said": change.said if change else None,
    }
