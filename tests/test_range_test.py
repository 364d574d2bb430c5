"""The range test against a plain loop of PyTorch's, the rate it suggests, and the commands that show and use it."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from test_cli import fail, invoke
from torch import nn

from digitnet import range_test as module
from digitnet.config import MLPConfig, RunConfig, TrainConfig
from digitnet.console.rates import rate_lines
from digitnet.data.load import load_training
from digitnet.device import derive_seed
from digitnet.errors import DigitnetError
from digitnet.explain.training.rates import draw_rates
from digitnet.range_test import HIGHEST, LOWEST, RangeTest, range_test, rising_rates, smooth
from digitnet.trainer import epoch_batches

RULE = TrainConfig(
    dataset="strokes", epochs=1, batch_size=10, optimizer="sgd", momentum=0.0, learning_rate=0.1, device="cpu",
    precision="fp32",
)  # fmt: skip
CONFIG = RunConfig(model=MLPConfig(hidden_sizes=(16,)), train=RULE)
OPTIONS = ("--model", "mlp", "--preset", "fast", "--hidden-sizes", "16", "--dataset", "strokes", "--train-size", "90",
           "--batch-size", "30")  # fmt: skip


@pytest.fixture(scope="module")
def train():
    return load_training("strokes", size=90)[0]


def test_rates_rise_by_the_same_factor():
    rates = np.array(rising_rates())
    assert (rates[0], rates[-1]) == pytest.approx((LOWEST, HIGHEST))
    assert rates[1:] / rates[:-1] == pytest.approx(10 ** (1 / 20))


def test_a_deterministic_run_has_its_rate_found_so(train, monkeypatch):
    wanted = []
    monkeypatch.setattr(module, "use_deterministic_algorithms", wanted.append)
    for deterministic in (True, False):
        next(module._ever_larger(replace(CONFIG, train=replace(RULE, deterministic=deterministic)), train))
    assert wanted == [True, False]


def test_losses_are_those_of_a_plain_loop(train):
    """The loss after each step, of the next batch, by another optimizer's code and without the engine."""
    found = range_test(CONFIG, train)
    torch.manual_seed(derive_seed(0, 0, "weights"))
    hidden, output = nn.Linear(784, 16), nn.Linear(16, 10)
    pixels = train.images.double().flatten(1) / 255
    pixels = ((pixels - pixels.mean()) / pixels.std(correction=0)).float()
    batches = [batch for epoch in range(1, 30) for batch in epoch_batches(90, epoch, RULE)]
    expected = []
    for rate, batch in zip([*found.rates, 0.0], batches, strict=False):
        loss = nn.functional.cross_entropy(output(hidden(pixels[batch]).relu()), train.targets[batch])
        parameters = [*hidden.parameters(), *output.parameters()]
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.sub_(rate * gradient)
        expected.append(loss.item())
    assert len(found.losses) == len(found.rates) > 80
    assert found.losses[:80] == pytest.approx(expected[1:81], rel=1e-3)  # later, rounding errors grow
    assert found.rates == tuple(rising_rates()[: len(found.rates)])


def test_it_is_the_same_each_time_and_follows_the_seed(train):
    first, second = (replace(range_test(CONFIG, train), elapsed_s=0) for _ in range(2))
    assert first == second
    other = range_test(replace(CONFIG, train=replace(RULE, seed=1)), train)
    assert other.losses != first.losses


def test_smoothing_is_a_weighted_mean_of_both_sides():
    losses = [3.0, 1.0, 2.0, 5.0]
    expected = []
    for i in range(4):
        weights = [math.exp(-((i - j) ** 2) / 18) for j in range(4)]
        expected.append(sum(w * x for w, x in zip(weights, losses, strict=True)) / sum(weights))
    assert smooth(losses) == pytest.approx(expected)
    assert smooth([2.0] * 9) == pytest.approx([2.0] * 9)


def made(smoothed):
    rates = tuple(10.0 ** (k - 5) for k in range(len(smoothed)))
    return RangeTest(rates=rates, losses=tuple(smoothed), smoothed=tuple(smoothed), elapsed_s=0.0)


def test_the_middle_of_the_good_rates_is_suggested():
    # From 2.3 it falls to 0.3, of which a tenth is 0.2: up to 0.5, rates from 0.001 to 0.1 are good.
    test = made([2.3, 1.5, 0.45, 0.3, 0.49, 0.51, 2.0])
    assert test.good == (1e-3, 1e-1)
    assert test.suggested == 0.01
    assert made([2.3, 1.5, 0.45, 0.49, 0.7, 2.0]).suggested == 0.0032  # sqrt(0.001 * 0.01), to two digits


@pytest.mark.parametrize(
    ("losses", "shown"),
    [
        ([2.0] * 10 + [1.0] * 10 + [2.1, 9.0, 9.0, 9.0, 9.0], 23),  # a mean of five above 4: (2 * 1 + 2.1 + 9 + 9) / 5
        ([2.0] * 10 + [1.0] * 10 + [math.nan, 1.0], 20),
        ([2.0] * 10 + [1.0] * 10, 20),
    ],
)
def test_it_ends_where_the_loss_blows_up(monkeypatch, train, losses, shown):
    monkeypatch.setattr(module, "_ever_larger", lambda *_: zip(rising_rates(), losses, strict=False))
    assert range_test(CONFIG, train).losses == tuple(losses[:shown])


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ([1.0 + k for k in range(20)], "the loss fell at no learning rate"),
        ([1.0, math.inf], "the loss is no finite number at any learning rate"),
    ],
)
def test_where_nothing_can_be_suggested_it_says_so(monkeypatch, train, losses, message):
    monkeypatch.setattr(module, "_ever_larger", lambda *_: zip(rising_rates(), losses, strict=False))
    with pytest.raises(DigitnetError, match=message):
        range_test(CONFIG, train)


def test_the_figure_is_1200_pixels_wide(tmp_path):
    draw_rates(made([2.3, 1.5, 0.45, 0.3, 0.49, 0.51, 2.0]), 0.1, tmp_path / "a.png", "made up")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (1200, 650)


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_the_bars_leave_room_for_all_numbers(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    test = made([2.3, 1.5, 0.45, 0.3, 0.49, 0.51, 2.0] * 5)
    lines = rate_lines(test, "ascii")
    assert max(map(len, lines)) <= min(columns, 80)
    assert max(line.count("#") for line in lines) == min(columns, 80) - 40
    assert [line.split()[1] for line in lines[1:]] == [f"{loss:.4f}" for loss in test.smoothed[::5]]


@pytest.mark.parametrize("losses", [[2.3, 2.2, 0.3, 0.3, 0.3, 0.3, 2.0], [0.3, 0.3, 0.3, 0.3, 0.3, 2.0, 3.0]])
def test_no_name_runs_out_of_the_figure(monkeypatch, tmp_path, losses):
    seen, real = [], Figure.savefig

    def savefig(self, *arguments, **options):
        real(self, *arguments, **options)
        (axes,) = self.axes
        seen.extend((axes.get_window_extent(), text.get_window_extent()) for text in axes.texts)

    monkeypatch.setattr(Figure, "savefig", savefig)
    draw_rates(made(losses), 0.1, tmp_path / "a.png", "made up")
    assert len(seen) == 3
    assert all(frame.x0 <= name.x0 < name.x1 <= frame.x1 for frame, name in seen)


def test_explain_shows_what_train_uses():
    text = invoke("explain", "learning-rate", *OPTIONS, "--ascii", "--output", "figures")
    assert max(map(len, text.stdout.splitlines())) <= 80
    assert text.stdout.isascii()
    assert text.stderr == "Drew figures/learning-rate.png.\n"
    assert Path("figures/learning-rate.png").stat().st_size > 10_000
    document = json.loads(invoke("explain", "learning-rate", *OPTIONS, "--json").stdout)
    suggested, (low, high) = document["suggested"], document["good"]
    assert low < suggested < high
    assert document["config"]["train"]["batch_size"] == 30
    assert f"suggested  {suggested:g}, the middle of the good ones" in text.stdout
    bars = {float(row.split()[0]): row.count("#") for row in text.stdout.splitlines()[1:] if "#" in row}
    assert bars[LOWEST] > 2 * min(bars.values())

    done = invoke("train", *OPTIONS, "--epochs", "1", "--learning-rate", "auto", "--json")
    assert json.loads(done.stdout)["config"]["train"]["learning_rate"] == suggested
    assert done.stderr.startswith(
        f"Learning rate {suggested:g}, found by a range test of {len(document['rates'])} steps"
    )
    folder = Path("checkpoints/mlp-strokes-1")
    assert f"learning_rate = {suggested}\n" in (folder / "config.toml").read_text()
    again = invoke("train", "--config", folder / "config.toml", "--json")  # which says the number, not auto
    assert json.loads(again.stdout)["record"]["validation_loss"] == json.loads(done.stdout)["record"]["validation_loss"]


def test_what_is_no_rate_is_refused():
    line = fail("train", *OPTIONS, "--learning-rate", "much", code=2)
    assert line == "error: --learning-rate takes a number such as 0.01, or auto, not 'much'"
