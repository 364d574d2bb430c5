"""What programs read: the JSON and CSV forms of runs, evaluations, networks and answers. Their fields are stable."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from digitnet import __version__
from digitnet.runs import BEST

if TYPE_CHECKING:
    from digitnet.adapting import AdaptResult
    from digitnet.checkpoint import Adaptation, Checkpoint
    from digitnet.comparison import Comparison
    from digitnet.data.digits import Digits
    from digitnet.doctor.check import Check
    from digitnet.evaluation import Sureness, Telling
    from digitnet.journal import Ending
    from digitnet.metrics import Metrics
    from digitnet.numbers import NumberPrediction
    from digitnet.pictures import Prepared
    from digitnet.predictor import Classifier, Prediction
    from digitnet.sources import Unreadable
    from digitnet.suite import SuiteRow
    from digitnet.summary import Layer
    from digitnet.verification import Verification

CSV_FIELDS = ("path", "digit", "confidence", *(f"p{digit}" for digit in range(10)), "accepted", "reason")
NUMBER_CSV_FIELDS = ("path", "number", "confidence", "accepted", "reason")


def run_report(
    folder: Path, checkpoint: Checkpoint, ending: Ending, processes: int, curves: Path | None
) -> dict[str, Any]:
    """Describe a run that has ended; the curves are null where they could not be drawn."""
    from digitnet.parallel import bytes_per_step

    ended = {"epochs_run": ending.epoch, "stop": ending.stop, "total_s": ending.elapsed_s}
    drawn = {"curves": str(curves) if curves else None}
    sent = bytes_per_step(checkpoint.config.model, processes, checkpoint.record.device)
    shared = {"processes": processes, "bytes_per_step": sent}
    return {"checkpoint": str(folder / BEST), **drawn, **ended, **shared, **_checkpoint(checkpoint)}


def verification_report(verification: Verification) -> dict[str, Any]:
    """Describe what came of verifying a run; it agrees where every check was made and none differs."""
    return {
        "run": str(verification.folder),
        "step": verification.step,
        "agrees": not (verification.named("differs") or verification.named("unchecked")),
        "checks": [asdict(check) for check in verification.checks],
    }


def adaptation_report(
    path: Path | None, adaptation: Adaptation, result: AdaptResult, pictures: Sequence[Path]
) -> dict[str, Any]:
    """Describe what adapting came to; the checkpoint is null where no new network was kept."""
    before, after = result.validation_before, result.validation_after
    return {
        "checkpoint": str(path) if path else None,
        "kept": result.kept,
        "adaptation": asdict(adaptation),
        "held_out": {"folds": len(result.folds), **_before_after(result.pictures, result.before, result.after)},
        "misread": [
            {"path": str(picture), **asdict(reading)}
            for picture, reading in zip(pictures, result.readings, strict=True)
            if reading.misread
        ],
        "share_of_the_way": result.share,
        "learnt": {"count": result.pictures, "correct_after": result.learnt},
        "validation": _before_after(before.count, before.correct, after.correct),
        "elapsed_s": result.elapsed_s,
    }


def _before_after(count: int, before: int, after: int) -> dict[str, int | float]:
    correct = {"count": count, "correct_before": before, "correct_after": after}
    return {**correct, "accuracy_before": before / count, "accuracy_after": after / count}


def evaluation_report(
    classifier: Classifier, digits: Digits, split: str, metrics: Metrics, sureness: Sureness, elapsed_s: float
) -> dict[str, Any]:
    """Describe an evaluation; shares are in [0, 1]."""
    return {
        **_network(classifier),
        "dataset": digits.name,
        "split": split,
        **_metrics(metrics),
        "loss_name": classifier.checkpoint.config.train.loss,
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


def prediction_report(
    classifier: Classifier, answers: list[Prediction | NumberPrediction | Unreadable], top_k: int
) -> dict[str, Any]:
    """Describe the answers for a list of pictures."""
    from digitnet.sources import Unreadable

    return {
        **_network(classifier),
        "predictions": [answer_report(answer, top_k) for answer in answers if not isinstance(answer, Unreadable)],
        "errors": [asdict(answer) for answer in answers if isinstance(answer, Unreadable)],
    }


def answer_report(answer: Prediction | NumberPrediction | Unreadable, top_k: int) -> dict[str, Any]:
    """Describe one picture's answer, or why there is none."""
    from digitnet.predictor import Prediction
    from digitnet.sources import Unreadable

    if isinstance(answer, Unreadable):
        return asdict(answer)
    if not isinstance(answer, Prediction):
        return number_report(answer)
    return {
        "path": answer.path,
        "accepted": answer.accepted,
        "reason": answer.reason,
        "digit": answer.digit,
        "confidence": answer.confidence,
        "score": answer.score,
        "probs": answer.probs,
        "top": [{"digit": digit, "prob": prob} for digit, prob in answer.top(top_k)],
        **_prepared(answer.prepared),
    }


def number_report(answer: NumberPrediction) -> dict[str, Any]:
    """Describe the number in one picture; boxes are left, top, right, bottom."""
    return {
        "path": answer.path,
        "accepted": answer.accepted,
        "reason": answer.reason,
        "number": answer.number,
        "confidence": answer.confidence,
        "lines": [[asdict(digit) for digit in line] for line in answer.lines],
    }


def number_csv_row(answer: NumberPrediction) -> str:
    """Put a number into a line of CSV, in the order of ``NUMBER_CSV_FIELDS``."""
    return _csv_line(_csv_path(answer), answer.number, answer.confidence, json.dumps(answer.accepted), answer.reason)


def _prepared(prepared: Prepared | None) -> dict[str, Any]:
    """Describe what the network saw, where it was kept: the steps, and 28 rows of 28 numbers from 0 to 255."""
    if prepared is None:
        return {}
    steps = {} if prepared.steps is None else asdict(prepared.steps)
    return {"prepared": {**steps, "pixels": prepared.pixels.tolist()}}


def csv_row(answer: Prediction) -> str:
    """Put an answer into a line of CSV, in the order of ``CSV_FIELDS``."""
    accepted = json.dumps(answer.accepted)
    return _csv_line(_csv_path(answer), answer.digit, answer.confidence, *answer.probs, accepted, answer.reason)


def csv_heading(fields: tuple[str, ...] = CSV_FIELDS) -> str:
    """Return the line above the rows."""
    return _csv_line(*fields)


def _csv_path(answer: Prediction | NumberPrediction) -> str:
    return (answer.path or "").encode(errors="backslashreplace").decode()  # a name need not be text


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


def telling_report(telling: Telling | None) -> dict[str, Any]:
    """Describe how well digits were told from what is none, as a part of an evaluation's report."""
    from digitnet.evaluation import RATES_SHOWN

    if telling is None:
        return {"nondigits": None}
    rows = [{"reject_rate": r, "accepted": a} for r, a in zip(RATES_SHOWN, telling.accepted, strict=True)]
    return {"nondigits": {"count": telling.count, "auroc": telling.auroc, "accepted": rows}}


def doctor_report(checks: Sequence[Check]) -> dict[str, Any]:
    """Describe what ``digitnet doctor`` found; the format number rises with a change that could break a reader."""
    healthy = all(check.status != "failed" for check in checks)
    return {"format": 1, "digitnet": __version__, "ok": healthy, "checks": [asdict(check) for check in checks]}


def comparison_report(other: Classifier | None, comparison: Comparison | None) -> dict[str, Any]:
    """Describe how another network did on the images of an evaluation, as a part of its report."""
    return {"against": {**_network(other), **_comparison(comparison)} if other and comparison else None}


def suite_report(classifier: Classifier, other: Classifier | None, rows: Sequence[SuiteRow]) -> dict[str, Any]:
    """Describe a network's results on the suite, and those of another network on the same images."""
    from digitnet.data.variants import SEED
    from digitnet.suite import mean_of_copies

    mean, other_mean = mean_of_copies(rows)
    return {
        **_network(classifier),
        "against": {**_network(other), "mean_of_copies": other_mean} if other else None,
        "loss_name": classifier.checkpoint.config.train.loss,
        "device": classifier.device.type,
        "noise_seed": SEED,
        "mean_of_copies": mean,
        "sets": [_suite_row(row) for row in rows],
    }


def _suite_row(row: SuiteRow) -> dict[str, Any]:
    """Describe one set; ``changed`` has the strength of each change, and is null where there is none."""
    return {
        "set": row.name,
        "split": row.split,
        "changed": {key: value for key, value in asdict(row.variant).items() if key != "name"} if row.variant else None,
        **_metrics(row.metrics),
        "errors": row.metrics.count - row.metrics.correct,
        "against": _comparison(row.comparison) if row.comparison else None,
        "elapsed_s": row.elapsed_s,
    }


def _network(classifier: Classifier) -> dict[str, Any]:
    return {"checkpoint": str(classifier.path), "trained_on": classifier.checkpoint.record.dataset}


def _metrics(metrics: Metrics) -> dict[str, Any]:
    return {
        "count": metrics.count,
        "correct": metrics.correct,
        "accuracy": metrics.accuracy,
        "accuracy_interval_95": list(metrics.interval),
        "loss": metrics.loss,
        "per_digit": [{"digit": digit, **asdict(scores)} for digit, scores in enumerate(metrics.per_digit)],
        "confusion": [list(row) for row in metrics.confusion],
    }


def _comparison(comparison: Comparison) -> dict[str, Any]:
    from digitnet.metrics import wilson_interval

    c = comparison
    return {
        "correct": c.other_correct,
        "accuracy": c.other_accuracy,
        "accuracy_interval_95": list(wilson_interval(c.other_correct, c.count)),
        **asdict(c),
        "p_value": c.p_value,
        "significant": c.significant,
        "conclusion": c.conclusion,
    }
