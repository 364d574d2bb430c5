"""What programs read: the JSON and CSV forms of runs, evaluations, networks and answers. Their fields are stable."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from digitnet.runs import BEST

if TYPE_CHECKING:
    from digitnet.checkpoint import Checkpoint
    from digitnet.data.digits import Digits
    from digitnet.engine import EpochResult
    from digitnet.evaluation import Sureness
    from digitnet.metrics import Metrics
    from digitnet.predictor import Classifier, Prediction, Unreadable
    from digitnet.summary import Layer

CSV_FIELDS = ("path", "digit", "confidence", *(f"p{digit}" for digit in range(10)), "accepted", "reason")


def run_report(folder: Path, checkpoint: Checkpoint, last: EpochResult) -> dict[str, Any]:
    """Describe a run that has ended."""
    ended = {"epochs_run": last.epoch, "stop": last.stop, "total_s": last.elapsed_s}
    return {"checkpoint": str(folder / BEST), **ended, **_checkpoint(checkpoint)}


def evaluation_report(
    classifier: Classifier, digits: Digits, split: str, metrics: Metrics, sureness: Sureness, elapsed_s: float
) -> dict[str, Any]:
    """Describe an evaluation; shares are in [0, 1]."""
    return {
        "checkpoint": str(classifier.path),
        "trained_on": classifier.checkpoint.record.dataset,
        "dataset": digits.name,
        "split": split,
        "count": metrics.count,
        "correct": metrics.correct,
        "accuracy": metrics.accuracy,
        "accuracy_interval_95": list(metrics.interval),
        "loss": metrics.loss,
        "loss_name": classifier.checkpoint.config.train.loss,
        "per_digit": [{"digit": digit, **asdict(scores)} for digit, scores in enumerate(metrics.per_digit)],
        "confusion": [list(row) for row in metrics.confusion],
        "calibration_error": sureness.reliability.error,
        "reliability": [asdict(part) for part in sureness.reliability.bins],
        "risk_coverage": [asdict(row) for row in sureness.coverages],
        "elapsed_s": elapsed_s,
        "images_per_s": metrics.count / elapsed_s,
        "device": classifier.device.type,
    }


def info_report(classifier: Classifier, layers: list[Layer]) -> dict[str, Any]:
    """Describe a network and how it came about."""
    return {
        "checkpoint": str(classifier.path),
        "parameters": sum(layer.parameters for layer in layers),
        "multiply_adds": sum(layer.multiply_adds for layer in layers),
        "layers": [asdict(layer) for layer in layers],
        **_checkpoint(classifier.checkpoint),
    }


def prediction_report(classifier: Classifier, answers: list[Prediction | Unreadable], top_k: int) -> dict[str, Any]:
    """Describe the answers for a list of pictures."""
    from digitnet.predictor import Prediction, Unreadable

    return {
        "checkpoint": str(classifier.path),
        "trained_on": classifier.checkpoint.record.dataset,
        "predictions": [answer_report(answer, top_k) for answer in answers if isinstance(answer, Prediction)],
        "errors": [asdict(answer) for answer in answers if isinstance(answer, Unreadable)],
    }


def answer_report(answer: Prediction | Unreadable, top_k: int) -> dict[str, Any]:
    """Describe one picture's answer, or why there is none."""
    from digitnet.predictor import Unreadable

    if isinstance(answer, Unreadable):
        return asdict(answer)
    return {
        "path": answer.path,
        "accepted": answer.accepted,
        "reason": answer.reason,
        "digit": answer.digit,
        "confidence": answer.confidence,
        "score": answer.score,
        "probs": answer.probs,
        "top": [{"digit": digit, "prob": prob} for digit, prob in answer.top(top_k)],
    }


def csv_row(answer: Prediction) -> str:
    """Put an answer into a line of CSV, in the order of ``CSV_FIELDS``."""
    path = (answer.path or "").encode(errors="backslashreplace").decode()  # a name need not be text
    accepted = json.dumps(answer.accepted)
    return _csv_line(path, answer.digit, answer.confidence, *answer.probs, accepted, answer.reason)


def csv_heading() -> str:
    """Return the line above the rows."""
    return _csv_line(*CSV_FIELDS)


def _csv_line(*values: object) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(values)  # with its usual line end, for it quotes only the ends it writes
    return text.getvalue().removesuffix("\r\n")


def _checkpoint(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "record": asdict(checkpoint.record),
        "calibration": asdict(checkpoint.calibration),
        "config": checkpoint.config.to_dict(),
    }
