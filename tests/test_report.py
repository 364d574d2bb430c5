"""The report of an evaluation, against a loop and scikit-learn, and as a page that needs nothing beside itself."""

import base64
import io
import json
import math
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import confusion_matrix
from test_cli import fail, invoke

import digitnet
from digitnet.data import load
from digitnet.data.digits import Digits
from digitnet.data.load import load_digits
from digitnet.errors import UsageError
from digitnet.evaluation import assess, count, logits_of
from digitnet.explain.evaluation.mistakes import find_mistakes
from digitnet.explain.evaluation.page import MOST_SHOWN, Evaluation
from digitnet.explain.evaluation.report import FIGURES, check_report_folder, write_report
from digitnet.losses import build_loss

VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """A page taken apart: its tags with their attributes, and the text of each table's cells."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.cells, self.text = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.cells.append([])
        if tag == "tr":
            self.cells[-1].append([])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1][-1].append(data)

    def pictures(self):
        """Return the pictures with the texts that stand for them."""
        found = [attrs for tag, attrs in self.tags if tag == "img"]
        data = (base64.b64decode(attrs["src"].removeprefix("data:image/png;base64,")) for attrs in found)
        return [(Image.open(io.BytesIO(png)), attrs["alt"]) for png, attrs in zip(data, found, strict=True)]


@pytest.fixture(autouse=True)
def few_strokes(monkeypatch):
    """Test on 300 strokes, not on 10,000."""
    monkeypatch.setitem(load.STROKES_SIZES, "test", 300)


@pytest.fixture
def evaluated(classifier):
    digits = load_digits("strokes", "test")
    return digits, logits_of(classifier.model, digits.images)


def report(folder, classifier, digits, logits, **names):
    metrics = count(logits, digits.targets, build_loss("cross-entropy"))
    words = {"network": classifier.name, "dataset": digits.name, "split": "test", "loss": "cross-entropy"} | names
    sureness = assess(logits, digits.targets, classifier.checkpoint.calibration)
    mistakes = find_mistakes(digits, logits, classifier.checkpoint.calibration)
    path = write_report(folder, Evaluation(**words, metrics=metrics), sureness, mistakes)
    return Page(path.read_text("utf-8")), mistakes


def test_mistakes_are_all_that_was_read_wrongly_the_surest_first(classifier, evaluated):
    digits, logits = evaluated
    expected = []
    for i, row in enumerate((logits.double() / classifier.checkpoint.calibration.temperature).tolist()):
        powers = [math.exp(x) for x in row]
        answer, truth = row.index(max(row)), int(digits.targets[i])
        if answer != truth:
            expected.append((i, truth, answer, powers[answer] / sum(powers), powers[truth] / sum(powers)))
    expected.sort(key=lambda mistake: -mistake[3])
    found = find_mistakes(digits, logits, classifier.checkpoint.calibration)
    assert len(found) > 10
    assert [(m.index, m.truth, m.answer) for m in found] == [mistake[:3] for mistake in expected]
    assert [m.confidence for m in found] == pytest.approx([mistake[3] for mistake in expected])
    assert [m.truth_probability for m in found] == pytest.approx([mistake[4] for mistake in expected])
    assert all((m.pixels == digits.images[m.index, 0].numpy()).all() for m in found)


def test_the_page_shows_the_numbers_and_pictures_of_the_evaluation(classifier, evaluated, tmp_path):
    digits, logits = evaluated
    page, mistakes = report(tmp_path / "made" / "report", classifier, digits, logits)
    matrix = confusion_matrix(digits.targets.numpy(), logits.argmax(1).numpy(), labels=range(10))
    shown = [[int(cell) for cell in row[1:]] for row in page.cells[0][1:]]
    assert (np.array(shown) == matrix).all()
    wrong = int((logits.argmax(1) != digits.targets).sum())
    assert f"{1 - wrong / 300:.2%}" in page.text
    pictures = page.pictures()
    assert len(pictures) == 2 + min(len(mistakes), MOST_SHOWN)
    assert all(alt for _, alt in pictures)
    for (picture, alt), mistake in zip(pictures[2:], mistakes, strict=False):
        assert (np.asarray(picture) == mistake.pixels).all()
        assert alt == f"Image {mistake.index}: a {mistake.truth} that was read as {mistake.answer}"
    for name, (picture, _) in zip(FIGURES[:2], pictures[:2], strict=True):
        assert (tmp_path / "made" / "report" / name).read_bytes()[:4] == b"\x89PNG"
        assert picture.size == (1200, 750)


def test_the_page_needs_nothing_and_what_people_write_stays_text(classifier, evaluated, tmp_path):
    name = "<script>alert(1)</script> & \"co\" 'x'"
    page, _ = report(tmp_path, classifier, *evaluated, network=name, dataset="</title><img src=x>")
    assert page.open == []
    assert {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object"} == set()
    addresses = [value for _, attrs in page.tags for key, value in attrs.items() if key in ("src", "href", "srcset")]
    assert addresses
    assert all(value.startswith("data:image/png;base64,") for value in addresses)
    text = (tmp_path / "index.html").read_text("utf-8")
    assert "url(" not in text
    assert "@import" not in text
    assert "://" not in text
    assert f"How {name} reads </title><img src=x>" in page.text
    assert ("html", {"lang": "en"}) in page.tags
    assert "prefers-color-scheme: dark" in text


def test_without_errors_there_is_no_gallery(classifier, evaluated, tmp_path):
    digits, logits = evaluated
    report(tmp_path, classifier, digits, logits)
    assert (tmp_path / "errors.png").exists()
    right = Digits(name="right", images=digits.images, targets=logits.argmax(1), fingerprint="")
    page, mistakes = report(tmp_path, classifier, right, logits)
    assert mistakes == []
    assert "There are none." in page.text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["confusion.png", "index.html", "reliability.png"]


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    check_report_folder(tmp_path / "new")
    check_report_folder(tmp_path)
    (tmp_path / "index.html").write_text("<title>mine</title>")
    with pytest.raises(UsageError, match="is no report of digitnet's; name another folder by --report"):
        check_report_folder(tmp_path)
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(UsageError, match="holds other things, such as thesis"):
        check_report_folder(tmp_path)
    with pytest.raises(UsageError, match="is not a folder"):
        check_report_folder(tmp_path / "thesis.txt")


def test_eval_writes_a_report_and_writes_it_anew(run_folder):
    text = invoke("eval", "--checkpoint", run_folder, "--report", "report").stdout
    assert text.splitlines()[-1] == "report     report/index.html"
    before = Path("report/index.html").read_bytes()
    document = json.loads(invoke("eval", "--checkpoint", run_folder, "--report", "report", "--json").stdout)
    assert document["report"] == "report/index.html"
    assert Path("report/index.html").read_bytes() == before
    assert sorted(path.name for path in Path("report").iterdir()) == sorted(["index.html", *FIGURES])
    Path("report/notes.txt").touch()
    line = fail("eval", "--checkpoint", run_folder, "--report", "report", code=2)
    assert line == "error: report holds other things, such as notes.txt; name another folder by --report"
    assert "--report is for one data set" in fail("eval", "--suite", "--report", "new", code=2)


def test_a_network_that_reads_all_alike_is_reported_too(classifier, evaluated, tmp_path):
    digits, _ = evaluated
    page, mistakes = report(tmp_path, classifier, digits, torch.zeros(len(digits), 10))
    assert len(page.pictures()) == 2 + MOST_SHOWN
    assert all(m.answer == 0 and m.confidence == pytest.approx(0.1) for m in mistakes)
    assert digitnet.__version__ in page.text
