"""The curves of a run against its metrics and its schedule, and the files that a run writes of them."""

import csv
import json
from pathlib import Path

import pytest
import torch
from conftest import digitnet_command, run_python
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from digitnet.config import MLPConfig, RunConfig, TrainConfig
from digitnet.data.load import load_training
from digitnet.engine import fit
from digitnet.explain.training.curves import draw_curves, gather_curves
from digitnet.journal import Journal
from digitnet.metrics import Metrics
from digitnet.progress import EpochResult, StepResult
from digitnet.training import new_model

EVALUATION = Metrics(loss=0.5, confusion=((1,) * 10,) * 10)
COMMAND = ("train", "--model", "mlp", "--preset", "fast", "--hidden-sizes", "16", "--dataset", "strokes")


@pytest.fixture(scope="module")
def history():
    """A run of two epochs of 25 steps, the second cut short."""
    rule = TrainConfig(dataset="strokes", steps=40, batch_size=4, learning_rate=0.01, device="cpu")
    train, validation = load_training("strokes", size=100)
    model = new_model(RunConfig(model=MLPConfig(hidden_sizes=(8,)), train=rule), train)
    return list(fit(model, train, validation, rule))


def journal_of(results):
    journal = Journal()
    for result in results:
        journal = journal.add(result)
    return journal


def test_the_pieces_of_an_epoch_make_its_mean(history):
    results = history
    curves = gather_curves(journal_of(results), 25)
    assert [step for step, _ in curves.pieces] == [r.step for r in results if isinstance(r, StepResult)]
    first, second = (r for r in results if isinstance(r, EpochResult))
    for epoch, begin in ((first, 0), (second, 25)):
        pieces = [(step, loss) for step, loss in curves.pieces if begin < step <= epoch.step]
        sizes = torch.tensor([begin, *(step for step, _ in pieces)], dtype=torch.float64).diff()
        mean = (sizes * torch.tensor([loss for _, loss in pieces], dtype=torch.float64)).sum() / sizes.sum()
        assert mean.item() == pytest.approx(epoch.train_loss, rel=1e-5)
    assert len({round(loss, 4) for _, loss in curves.pieces}) > 20  # no running mean, which would hardly change


def test_a_piece_is_the_mean_of_its_own_steps():
    def report(step, loss, counted):
        return StepResult(
            epoch=1,
            epochs=1,
            step=step,
            total_steps=9,
            learning_rate=0.1,
            loss=loss,
            counted=counted,
            images_per_s=1.0,
            elapsed_s=0.0,
        )

    end = EpochResult(
        epoch=1, epochs=1, step=9, learning_rate=0.1, train_loss=2.5, train_accuracy=0.5,
        validation=EVALUATION, logits=torch.zeros(1, 10), best=True, images_per_s=1.0, elapsed_s=0.0, stop="epochs",
    )  # fmt: skip
    # 4 images of loss 4, 4 of 2 and 2 of 1; the same report twice, as a GPU may send it, and one that is not there yet.
    results = [report(1, None, 0), report(2, 4.0, 4), report(3, 4.0, 4), report(4, 3.0, 8), report(5, 2.6, 10), end]
    curves = gather_curves(journal_of(results), 9)
    assert [step for step, _ in curves.pieces] == [2, 4, 5]
    assert [loss for _, loss in curves.pieces] == pytest.approx([4, 2, 1])


def test_the_rest_is_what_training_yielded(history):
    results = history
    curves = gather_curves(journal_of(results), 25)
    epochs = [r for r in results if isinstance(r, EpochResult)]
    assert curves.train_accuracy == ((25, epochs[0].train_accuracy), (40, epochs[1].train_accuracy))
    assert curves.validation_loss == ((25, epochs[0].validation.loss), (40, epochs[1].validation.loss))
    rates = [r for r in results if isinstance(r, StepResult | EpochResult)]
    assert set(curves.learning_rate) == {(r.step, r.learning_rate) for r in rates}
    assert [step for step, _ in curves.learning_rate] == list(range(1, 41))
    assert curves.best == max(e.epoch for e in epochs if e.best)


def test_the_figure_shows_a_run_of_any_length(history, tmp_path):
    results = history
    sizes = {}
    for name, some in (("one", results[: [type(r) for r in results].index(EpochResult) + 1]), ("two", results)):
        draw_curves(gather_curves(journal_of(some), 25), tmp_path / name, "metrics.csv")
        with Image.open(tmp_path / name) as picture:
            sizes[name] = picture.size
    assert set(sizes.values()) == {(1200, 800)}


def test_train_writes_curves_and_the_same_numbers_for_tensorboard():
    done = digitnet_command(*COMMAND, "--train-size", "90", "--epochs", "2", "--tensorboard", "--json")
    assert done.returncode == 0, done.stderr
    folder = Path("checkpoints/mlp-strokes-1")
    assert json.loads(done.stdout)["curves"] == str(folder / "curves.png")
    assert (folder / "curves.png").stat().st_size > 10_000
    rows = list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))
    events = EventAccumulator(str(folder)).Reload()
    for tag, name in (
        ("loss/train", "train_loss"),
        ("loss/validation", "validation_loss"),
        ("accuracy/train", "train_accuracy"),
        ("accuracy/validation", "validation_accuracy"),
        ("learning_rate", "learning_rate"),
    ):
        scalars = events.Scalars(tag)
        assert [scalar.step for scalar in scalars] == [int(row["step"]) for row in rows]
        assert [scalar.value for scalar in scalars] == pytest.approx([float(row[name]) for row in rows], rel=1e-6)


WITHOUT = "import sys; sys.modules['{name}'] = None; from digitnet.cli import main; sys.argv[0] = 'digitnet'; main()"


def test_without_matplotlib_a_run_says_how_to_get_curves():
    options = (*COMMAND, "--train-size", "90", "--epochs", "1")
    done = run_python("-c", WITHOUT.format(name="matplotlib"), *options)
    assert done.returncode == 0, done.stderr
    assert "curves     not drawn: matplotlib is missing; get it by: pip install matplotlib\n" in done.stdout
    assert not list(Path().rglob("curves.png"))


def test_without_tensorboard_it_is_refused_before_training():
    options = (*COMMAND, "--train-size", "90", "--epochs", "1", "--tensorboard")
    done = run_python("-c", WITHOUT.format(name="tensorboard"), *options)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: --tensorboard needs tensorboard, which is missing; get it by: pip install tensorboard\n"
    )
    assert not list(Path().iterdir())
