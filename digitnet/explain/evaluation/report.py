"""The folder of an evaluation: figures, and a page that shows them and opens without a server or a network.

What is on the page is in ``page.py``, the figures in ``figures.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from digitnet.atomic import check_folder, write_atomically
from digitnet.errors import UsageError, printable
from digitnet.evaluation import Sureness
from digitnet.explain.evaluation.figures import draw_confusion, draw_mistakes, draw_reliability
from digitnet.explain.evaluation.mistakes import Mistake, find_mistakes
from digitnet.explain.evaluation.page import GENERATOR, Evaluation, page

if TYPE_CHECKING:
    from torch import Tensor

    from digitnet.data.digits import Digits
    from digitnet.metrics import Metrics
    from digitnet.predictor import Classifier

INDEX = "index.html"
CONFUSION, RELIABILITY, ERRORS = FIGURES = ("confusion.png", "reliability.png", "errors.png")


def check_report_folder(folder: Path) -> None:
    """Refuse a folder that holds anything but an earlier report.

    Raises:
        UsageError: It does, or it is none.
    """
    check_folder(folder, "--report")
    if not folder.is_dir():
        return
    others = {path.name for path in folder.iterdir()} - {INDEX, *FIGURES}
    if others:
        raise UsageError(f"{folder} holds other things, such as {min(others)}; name another folder by --report")
    index = folder / INDEX
    if index.exists() and GENERATOR not in index.read_text("utf-8", errors="replace"):
        raise UsageError(f"{index} is no report of digitnet's; name another folder by --report")


def report_evaluation(
    folder: Path,
    classifier: Classifier,
    digits: Digits,
    split: str,
    logits: Tensor,
    metrics: Metrics,
    sureness: Sureness,
) -> Path:
    """Write the report of what a network made of labelled images; what is returned and raised is ``write_report``'s.

    Args:
        folder: Where it goes.
        classifier: The network.
        digits: The images, N of them.
        split: Which part of their data set they are.
        logits: What the network made of them, (N, 10) float32.
        metrics: What was counted.
        sureness: How sure it was.
    """
    config, calibration = classifier.checkpoint.config, classifier.checkpoint.calibration
    name, dataset = printable(classifier.name), printable(digits.name)
    evaluation = Evaluation(network=name, dataset=dataset, split=split, loss=config.train.loss, metrics=metrics)
    return write_report(folder, evaluation, sureness, find_mistakes(digits, logits, calibration))


def write_report(folder: Path, evaluation: Evaluation, sureness: Sureness, mistakes: Sequence[Mistake]) -> Path:
    """Write the figures and the page, in place of an earlier report.

    Returns:
        The page.

    Raises:
        UsageError: The folder holds something else.
        OSError: It cannot be written.
    """
    check_report_folder(folder)
    for name in (INDEX, *FIGURES):
        (folder / name).unlink(missing_ok=True)
    source = evaluation.source
    draw_confusion(evaluation.metrics, folder / CONFUSION, source)
    draw_reliability(sureness.reliability, folder / RELIABILITY, source)
    if mistakes:
        draw_mistakes(mistakes, folder / ERRORS, source)
    pictures = {name: (folder / name).read_bytes() for name in (CONFUSION, RELIABILITY)}
    text = page(evaluation, sureness, mistakes, confusion=pictures[CONFUSION], reliability=pictures[RELIABILITY])
    write_atomically(folder / INDEX, text.encode())
    return folder / INDEX
