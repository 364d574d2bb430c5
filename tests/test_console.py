"""What people read fits their terminal, shows what a file is called without obeying it, and is plain in a pipe."""

import os
import re
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from digitnet.calibration import ConfidenceBin, Reliability
from digitnet.checkpoint import Adaptation, Distillation, load_checkpoint
from digitnet.comparison import Comparison
from digitnet.console import answers, evaluations, networks, notes
from digitnet.data.variants import VARIANTS
from digitnet.errors import printable
from digitnet.evaluation import Sureness
from digitnet.journal import Ending
from digitnet.metrics import Metrics
from digitnet.predictor import Classifier, Prediction
from digitnet.progress import EpochResult, StepResult
from digitnet.recipes import build_config
from digitnet.rejection import Coverage
from digitnet.runs import Found
from digitnet.summary import summarise

DIAGONAL = tuple(tuple(5_842 if row == column else 123 for column in range(10)) for row in range(10))
EPOCH = EpochResult(
    epoch=7, epochs=40, step=1_505, learning_rate=1e-3, train_loss=0.12345, train_accuracy=0.9876,
    validation=Metrics(loss=0.0567, confusion=DIAGONAL), logits=torch.zeros(0, 10), best=True,
    images_per_s=12_345.6, elapsed_s=61.23, stop=None,
)  # fmt: skip
STEP = StepResult(
    epoch=7,
    epochs=40,
    step=1_300,
    total_steps=8_600,
    learning_rate=1e-3,
    loss=0.1,
    counted=9,
    images_per_s=12_345.6,
    elapsed_s=60.0,
)
ESCAPE = "\x1b[31mred\x1b]0;title\x07\r\n\u202egnp"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("scans/7 é 手.png", "scans/7 é 手.png"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\b\r\t\x07", "a\\x08\\r\\t\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        (os.fsdecode(b"\xff.png"), "\\udcff.png"),
        ("\U000e0001", "\\U000e0001"),
    ],
)
def test_control_characters_are_shown_and_not_obeyed(text, shown):
    assert printable(text) == shown


@given(st.text())
def test_whatever_is_shown_can_be_printed(text):
    shown = printable(text)
    assert shown.replace("\n", "").isprintable()
    assert text.isprintable() <= (shown == text)
    shown.encode()


def test_notes_go_to_stderr_and_are_shown_safely(capsys):
    notes.note(f"two\nlines {ESCAPE}")
    out, err = capsys.readouterr()
    assert out == ""
    assert "\x1b" not in err
    assert err.startswith("two\nlines \\x1b[31mred")


def test_an_answer_is_a_line():
    probs = (0.08766, 0, 0, 0, 0, 0, 0, 0.91234, 0, 0)
    answer = Prediction(path=ESCAPE, digit=7, confidence=0.91234, probs=probs, score=9.0)
    line = answers.prediction_line(answer, 2)
    assert line.isprintable()
    assert line.endswith("gnp: 7  91.23%  then 0 8.77%")
    assert answers.prediction_line(answer, 1).endswith("gnp: 7  91.23%")
    assert answers.prediction_line(replace(answer, path="a.png"), 1) == "a.png: 7  91.23%"


def test_no_answer_is_said_to_be_certain():
    probs = (1e-7,) * 7 + (0.999999,) + (1e-7,) * 2
    sure = Prediction(path="a.png", digit=7, confidence=0.999999, probs=probs, score=9.0)
    assert answers.prediction_line(sure, 2) == "a.png: 7  >99.99%  then 0 <0.01%"


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("not a digit", "not a digit (nearest 7, 43.10%)"),
        ("several digits", "several digits; --number reads them"),
        ("blank", "blank"),
    ],
)
def test_what_is_turned_away_is_said_to_be_and_why(reason, said):
    probs = (0.569, 0, 0, 0, 0, 0, 0, 0.431, 0, 0)
    answer = Prediction(path=ESCAPE, digit=7, confidence=0.431, probs=probs, score=2.0, reason=reason)
    line = answers.prediction_line(answer, 3)
    assert line.isprintable()
    assert line.endswith(f"gnp: turned away: {said}")


def test_an_epoch_is_a_line():
    line = "7/40      0.1235    98.76%       0.0567    84.07%    12,346     61.2  best"
    assert notes.epoch_line(EPOCH) == line
    assert len(line) < 80
    ends = [match.end() for match in re.finditer(r"\S+", line.removesuffix("  best"))][1:]
    assert all(notes.EPOCH_HEADING[end - 1 :].split(" ")[0] for end in ends)  # the heading's words end there too
    assert notes.epoch_line(replace(EPOCH, best=False)) == line.removesuffix("  best")


def test_without_a_terminal_an_epoch_is_one_plain_line_on_stderr(capsys):
    with notes.training_view() as show:
        show(STEP)
        show(replace(EPOCH, epoch=1))
        show(STEP)
        show(EPOCH)
    out, err = capsys.readouterr()
    assert out == ""
    lines = [notes.epoch_line(result) for result in (replace(EPOCH, epoch=1), EPOCH)]
    assert err.splitlines() == [notes.EPOCH_HEADING, *lines]


def test_without_a_terminal_nothing_is_counted_aloud(capsys):
    with notes.counting("pictures") as count_one:
        for _ in range(1_000):
            count_one()
    assert capsys.readouterr() == ("", "")


@contextmanager
def terminal(monkeypatch, columns=80):
    """Put a terminal on stdout and stderr; yields a list, which holds what was shown afterwards."""
    pty = pytest.importorskip("pty")
    leader, follower = pty.openpty()
    shown = []
    with monkeypatch.context() as patch, os.fdopen(follower, "w") as stream:
        patch.setenv("TERM", "xterm-256color")
        patch.setenv("COLUMNS", str(columns))
        patch.setattr(sys, "stdout", stream)
        patch.setattr(sys, "stderr", stream)
        yield shown
        stream.flush()
        shown.append(os.read(leader, 1_000_000).decode())
    os.close(leader)


COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|9\d|4[0-8])(?:;\d+)*m")


@pytest.mark.parametrize("no_color", [None, "1"])
def test_in_a_terminal_there_is_a_bar_in_colour_unless_that_is_not_wanted(monkeypatch, no_color):
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", no_color)
    with terminal(monkeypatch) as shown, notes.training_view() as show:
        show(replace(STEP, step=1_299, loss=None))
        show(STEP)
        show(EPOCH)
        show(STEP)
    text = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]|\r", "", shown[0])
    assert notes.epoch_line(EPOCH) in text.replace("\n", "")
    assert "epoch 7/40 step 1300/8600" in text
    unknown, known = (text[text.index(f"step {step}/8600") :][:60] for step in (1_299, 1_300))
    assert "loss 0.1000" in known
    assert "loss" not in unknown  # a GPU has not sent it yet
    assert "12,346 img/s" in unknown
    assert bool(COLOUR.search(shown[0])) == (no_color is None)


def widths(text):
    return [len(line) for line in text.splitlines()]


@pytest.fixture
def classifier_like():
    record = SimpleNamespace(config=SimpleNamespace(train=SimpleNamespace(loss="cross-entropy")))
    return SimpleNamespace(checkpoint=record, device=SimpleNamespace(type="cpu"))


@pytest.mark.parametrize("columns", [40, 60, 80])
@pytest.mark.parametrize("size", [1_135, 6_742])  # MNIST's ones: of the test set, of the training set
def test_an_evaluation_fits_its_terminal_with_every_count_whole(classifier_like, capsys, monkeypatch, size, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    confusion = tuple(tuple(size if row == column else 0 for column in range(10)) for row in range(10))
    metrics = Metrics(loss=0.0321, confusion=confusion)
    digits = SimpleNamespace(name="mnist")
    bins = tuple(
        ConfidenceBin(low=k / 15, high=(k + 1) / 15, count=size, confidence=1.0, accuracy=0.0) for k in range(15)
    )
    rows = [
        Coverage(reject_rate=rate, answered=10 * size, errors=size, coverage=rate, accuracy=accuracy)
        for rate, accuracy in ((0.0, 1.0), (1.0, None))
    ]
    sureness = Sureness(reliability=Reliability(bins=bins), coverages=tuple(rows))
    evaluations.print_evaluation(classifier_like, digits, "test", metrics, sureness, 2.0)
    out, err = capsys.readouterr()
    assert err == ""
    assert max(widths(out)) <= columns
    assert len(re.findall(rf"(?<!\S){size:,}(?![^\s,])", out)) == 20 + 15 + 2  # supports and diagonal, bins, errors
    text = " ".join(out.split())
    assert "100.00% off on average" in text
    assert "93.3% to 100.0%" in out
    assert "+100.00%" in out
    assert f"mnist, test: {10 * size:,} images" in text
    assert "100.00%, 95% interval" in text
    assert "\x1b" not in out


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_the_suite_fits_its_terminal_with_every_figure_whole(capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    metrics = Metrics(loss=0.0321, confusion=DIAGONAL)
    names = ["mnist", *(variant.name for variant in VARIANTS), "my-pictures/of-last-summer"]
    comparison = Comparison(both=40_000, only_this=1_234, only_other=4_321, neither=20_000)
    rows = [
        SimpleNamespace(
            label=name, metrics=metrics, comparison=comparison, variant=name if 0 < k < len(names) - 1 else None
        )
        for k, name in enumerate(names)
    ]
    monkeypatch.setattr("digitnet.suite.mean_of_copies", lambda _: (0.98765, 0.87654))
    assert evaluations.print_suite(rows, names) == rows
    evaluations.print_suite_comparison(SimpleNamespace(name="other"), rows)
    out = capsys.readouterr().out
    assert max(widths(out)) <= columns
    low, high = metrics.interval
    for figure in (f"{metrics.count:,}", f"{metrics.accuracy:.2%}", f"{low:.2%} to {high:.2%}", "1,234", "4,321"):
        assert out.count(figure) >= len(names)
    assert out.count("98.7") + out.count("98.8") >= 2
    assert all(f"{name}" in out for name in names[:-1])


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_an_epoch_in_a_narrow_terminal_is_told_in_lines_that_fit(columns):
    lines = notes.epoch_text(EPOCH, columns).splitlines()
    assert max(map(len, lines)) <= columns
    text = " ".join(" ".join(lines).split())
    assert text == (
        "epoch 7/40: loss 0.1235, accuracy 98.76%, valid. loss 0.0567, accuracy 84.07%, 12,346 images/s, "
        "61.2 seconds, best"
    )


@pytest.mark.parametrize("columns", [40, 60])
def test_in_a_narrow_terminal_the_bar_is_left_out_for_the_steps_and_the_time(monkeypatch, columns):
    with terminal(monkeypatch, columns) as shown, notes.training_view() as show:
        show(STEP)
        show(EPOCH)
    text = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", shown[0])
    lines = [line.rstrip() for line in re.split(r"[\r\n]+", text)]
    assert max(map(len, lines)) <= columns
    assert any(line.startswith("epoch 7/40 step 1300/8600") and line.endswith("left") for line in lines)


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_a_large_networks_layers_fit_their_terminal(run_folder, capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    from digitnet.models import build_model

    config = build_config(preset="best", overrides={})
    layers = summarise(build_model(config.model))
    networks.print_info(load_checkpoint(run_folder / "best.safetensors"), layers)
    out = capsys.readouterr().out
    table = out[: out.index("data ")]
    assert max(widths(table)) <= 80
    assert max(widths(out)) <= columns
    for layer in layers:
        assert layer.name in table
        assert f"{layer.parameters:,}" in table
    assert f"{sum(layer.multiply_adds for layer in layers):,}" in table
    assert "strokes" in out[len(table) :]


def test_what_a_checkpoint_says_of_itself_is_shown_and_not_obeyed(run_folder, capsys):
    checkpoint = load_checkpoint(run_folder / "best.safetensors")
    train = replace(checkpoint.config.train, dataset=ESCAPE)
    texts = dict.fromkeys(("dataset", "fingerprint", "device", "precision", "digitnet", "torch"), ESCAPE)
    adaptation = Adaptation(
        source=ESCAPE, dataset=ESCAPE, fingerprint=ESCAPE, size=1, rehearsal=ESCAPE, held_out_accuracy=0.5, steps=1,
        learning_rate=0.1, seed=0,
    )  # fmt: skip
    distillation = Distillation(
        source=ESCAPE, teachers=ESCAPE, experts=ESCAPE, epoch=1, epochs=2, steps=3, elapsed_s=0.5, learning_rate=0.1,
        seed=0,
    )  # fmt: skip
    record = replace(checkpoint.record, adaptation=adaptation, distillation=distillation, **texts)
    networks.print_info(replace(checkpoint, config=replace(checkpoint.config, train=train), record=record), [])
    out = capsys.readouterr().out
    assert out.count("\\x1b[31mred") == 15
    assert out.replace("\n", "").isprintable()


def test_the_summary_says_what_to_type_next(run_folder, capsys, monkeypatch):
    from digitnet.checkpoint import load_checkpoint

    monkeypatch.setenv("DIGITNET_PROG", "./scripts/digitnet")
    checkpoint = load_checkpoint(run_folder / "best.safetensors")
    ending = Ending(epoch=7, elapsed_s=61.23, stop="patience")
    networks.print_run(Path("checkpoints/odd name"), checkpoint, ending, Path("my data"))
    out = capsys.readouterr().out
    assert "strokes: 900 images, and 100 for validation" in out
    assert "checkpoints/odd name/best.safetensors" in out
    assert "no better validation loss for --patience epochs" in out
    assert "./scripts/digitnet eval --checkpoint 'checkpoints/odd name'" in out  # it can be pasted


@pytest.mark.parametrize("stop", ["epochs", "patience", "until-accuracy", "time-budget"])
def test_every_reason_to_stop_has_words(stop):
    assert networks.STOPS[stop]


def test_an_adapted_checkpoint_and_evaluations_show_what_they_are_told(classifier, capsys):
    checkpoint = classifier.checkpoint
    adaptation = Adaptation(
        source=ESCAPE, dataset=ESCAPE, fingerprint=ESCAPE, size=9, rehearsal=ESCAPE, held_out_accuracy=0.5, steps=3,
        learning_rate=0.1, seed=0,
    )  # fmt: skip
    told = {"dataset": ESCAPE, "fingerprint": ESCAPE, "device": ESCAPE, "precision": ESCAPE, "digitnet": ESCAPE}
    record = replace(checkpoint.record, **told, torch=ESCAPE, adaptation=adaptation)
    config = replace(checkpoint.config, train=replace(checkpoint.config.train, dataset=ESCAPE))
    hostile = replace(checkpoint, record=record, config=config)
    networks.print_info(hostile, summarise(classifier.model))
    notes.note_checkpoint(Classifier(hostile, Found(path=Path("x"), name=ESCAPE)))
    out, err = capsys.readouterr()
    assert out.count("\\x1b[31mred") >= 8
    assert all(c.isprintable() or c == "\n" for c in out + err)
    assert len(err.splitlines()) == 1  # nor does it make a line of its own
