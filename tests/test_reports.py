"""What programs read: fields that stay, numbers that JSON and CSV can hold, and the data set's name in each."""

import csv
import io
import json

import pytest
import torch

from digitnet import reports
from digitnet.data.digits import Digits
from digitnet.data.strokes import draw_strokes
from digitnet.evaluation import assess, count, logits_of
from digitnet.journal import Ending
from digitnet.losses import build_loss
from digitnet.predictor import Prediction
from digitnet.sources import Unreadable
from digitnet.summary import summarise

PROBS = (0.05, 0.02, 0, 0, 0, 0.03, 0, 0.9, 0, 0)
ANSWER = Prediction(path='a,"b"\n.png', digit=7, confidence=0.9, probs=PROBS, score=7.5)
BLANK = Prediction(path="b.png", digit=None, confidence=0.1, probs=(0.1,) * 10, score=None, reason="blank")
FAULT = Unreadable(path="c.png", error="c.png is empty (0 bytes)")


def as_json(document):
    """Put a document through JSON as other programs read it, where NaN is no number."""
    return json.loads(json.dumps(document, allow_nan=False))


@pytest.fixture(scope="module")
def digits():
    images, targets = draw_strokes(200, seed=5)
    return Digits(name="strokes", images=images, targets=targets, fingerprint="f")


def test_an_answer(classifier):
    report = as_json(reports.answer_report(ANSWER, 2))
    assert report == {
        "path": ANSWER.path,
        "accepted": True,
        "reason": None,
        "digit": 7,
        "confidence": 0.9,
        "score": 7.5,
        "probs": list(ANSWER.probs),
        "top": [{"digit": 7, "prob": 0.9}, {"digit": 0, "prob": 0.05}],
    }
    assert as_json(reports.answer_report(FAULT, 2)) == {"path": "c.png", "error": FAULT.error}
    blank = as_json(reports.answer_report(BLANK, 2))
    assert blank.keys() == report.keys()
    assert (blank["accepted"], blank["reason"], blank["digit"], blank["score"], blank["top"]) == (
        False, "blank", None, None, [],
    )  # fmt: skip
    document = as_json(reports.prediction_report(classifier, [FAULT, ANSWER], 2))
    assert document == {
        "checkpoint": str(classifier.path),
        "trained_on": "strokes",
        "predictions": [report],
        "errors": [{"path": "c.png", "error": FAULT.error}],
    }


def test_csv_is_read_back_as_it_was():
    (row,) = csv.DictReader([reports.csv_heading(), *reports.csv_row(ANSWER).splitlines(keepends=True)])
    assert row["path"] == ANSWER.path
    assert (int(row["digit"]), float(row["confidence"])) == (7, 0.9)
    assert tuple(float(row[f"p{digit}"]) for digit in range(10)) == ANSWER.probs
    assert (row["accepted"], row["reason"]) == ("true", "")
    assert reports.csv_heading() == "path,digit,confidence,p0,p1,p2,p3,p4,p5,p6,p7,p8,p9,accepted,reason"


def test_a_picture_turned_away_has_its_row_too():
    (row,) = csv.DictReader([reports.csv_heading(), reports.csv_row(BLANK)])
    assert (row["digit"], row["accepted"], row["reason"], row["p3"]) == ("", "false", "blank", "0.1")


def test_an_evaluation_adds_up(classifier, digits):
    logits, calibration = logits_of(classifier.model, digits.images), classifier.checkpoint.calibration
    metrics = count(logits, digits.targets, build_loss("cross-entropy"))
    sureness = assess(logits, digits.targets, calibration)
    report = as_json(reports.evaluation_report(classifier, digits, "test", metrics, sureness, 0.5))
    confidence, preds = classifier.probabilities(digits.images).max(1)
    assert sum(part["count"] for part in report["reliability"]) == 200
    assert sum(p["count"] * p["confidence"] for p in report["reliability"]) == pytest.approx(confidence.sum().item())
    assert sum(p["count"] * p["accuracy"] for p in report["reliability"]) == pytest.approx(report["correct"])
    assert 0 <= report["calibration_error"] <= 1
    answers = classifier.predict(digits.images, reject_rate=0.05)
    (row,) = (row for row in report["risk_coverage"] if row["reject_rate"] == 0.05)
    assert row["answered"] == sum(answer.accepted for answer in answers)
    assert (report["risk_coverage"][0]["coverage"], report["risk_coverage"][0]["accuracy"]) == (1, report["accuracy"])
    assert report["count"] == 200
    assert report["correct"] == (preds == digits.targets).sum()
    assert report["accuracy"] == report["correct"] / 200
    low, high = report["accuracy_interval_95"]
    assert 0 <= low < report["accuracy"] < high <= 1
    for digit, (row, scores) in enumerate(zip(report["confusion"], report["per_digit"], strict=True)):
        assert row == [((preds == other) & (digits.targets == digit)).sum() for other in range(10)]
        assert scores["digit"] == digit
        assert scores["support"] == sum(row)
        assert scores["recall"] == pytest.approx(row[digit] / sum(row))
    assert report["images_per_s"] == 400
    assert (report["dataset"], report["trained_on"], report["split"]) == ("strokes", "strokes", "test")
    assert report["checkpoint"] == str(classifier.path)


def test_a_network_adds_up(classifier):
    layers = summarise(classifier.model)
    report = as_json(reports.info_report(classifier, layers))
    assert report["parameters"] == sum(p.numel() for p in classifier.model.parameters()) == 784 * 32 + 32 + 330
    assert report["multiply_adds"] == 784 * 32 + 320
    assert [layer["output_shape"] for layer in report["layers"] if layer["parameters"]] == [[32], [10]]
    assert report["record"]["dataset"] == report["config"]["train"]["dataset"] == "strokes"
    assert report["record"]["torch"] == torch.__version__
    assert report["calibration"]["temperature"] == classifier.checkpoint.calibration.temperature


def test_a_run_says_how_it_ended(classifier, run_folder):
    last = Ending(epoch=2, elapsed_s=1.5, stop="patience")
    report = as_json(reports.run_report(run_folder, classifier.checkpoint, last, 1, run_folder / "curves.png"))
    assert report["checkpoint"] == str(run_folder / "best.safetensors")
    assert report["curves"] == str(run_folder / "curves.png")
    assert (report["epochs_run"], report["stop"], report["total_s"]) == (2, "patience", 1.5)
    assert report["record"]["epoch"] == classifier.checkpoint.record.epoch


def test_any_path_comes_back_from_a_row():
    for path in ("a,b.png", 'a"b.png', "a\nb.png", "a\rb.png", "plain.png"):
        row = reports.csv_row(Prediction(path=path, digit=7, confidence=0.5, probs=(0.05,) * 10, score=1.0))
        assert next(csv.reader(io.StringIO(row, newline="")))[0] == path
