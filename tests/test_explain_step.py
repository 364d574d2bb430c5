"""digitnet explain step: its numbers against other computations of them, and the text, JSON and figures."""

import json
import re
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn, optim
from typer.testing import CliRunner

from digitnet.cli import app
from digitnet.config import ActivationName, LossName, OptimizerName
from digitnet.data.load import load_training
from digitnet.errors import DataError
from digitnet.explain.step import calculus, toy
from digitnet.explain.step.rules import losses_by_rate, take_step
from digitnet.explain.step.steps import explain_step
from digitnet.models import build_activation
from digitnet.recipes import build_config

ACTIVATIONS, LOSSES, OPTIMIZERS = map(get_args, (ActivationName, LossName, OptimizerName))


@pytest.fixture(scope="module")
def strokes():
    return load_training("strokes", size=100)[0]


def config_of(optimizer="sgd", **settings):
    return build_config(kind="mlp", overrides={"optimizer": optimizer, **settings}).train


def run(*arguments):
    return CliRunner().invoke(app, ["explain", "step", "--dataset", "strokes", *map(str, arguments)])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_pytorchs_and_their_slopes_are_differences(name):
    z = np.linspace(-5, 5, 100)  # not 0 itself, where ReLU has no slope
    np.testing.assert_allclose(calculus.activate(z, name), build_activation(name)(torch.from_numpy(z)), atol=1e-12)
    differences = (calculus.activate(z + 1e-6, name) - calculus.activate(z - 1e-6, name)) / 2e-6
    np.testing.assert_allclose(calculus.slope(z, name), differences, atol=1e-8)


def test_relu_has_the_slope_at_0_that_pytorch_gives_it():
    z = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    z.relu().backward()
    assert calculus.slope(np.zeros(1), "relu") == z.grad.numpy()


def test_softmax_and_sigmoid_do_not_overflow():
    np.testing.assert_allclose(calculus.softmax(np.array([[1000.0, 0.0], [0.0, 0.0]])), [[1, 0], [0.5, 0.5]])
    np.testing.assert_allclose(calculus.sigmoid(np.array([-1000.0, 0.0, 1000.0])), [0, 0.5, 1])


@pytest.mark.parametrize("loss", LOSSES)
def test_the_gradient_by_logits_follows_from_that_by_probabilities(loss):
    random = np.random.default_rng(3)
    logits, targets = random.normal(size=(4, 3)), np.eye(3)[[0, 2, 1, 1]]
    probs = calculus.probabilities(logits, loss)
    by_probability = calculus.probability_gradient(probs, targets, loss)
    if loss == "bce":
        expected = by_probability * probs * (1 - probs)
    else:  # row by row through softmax's Jacobian
        jacobians = [np.diag(p) - np.outer(p, p) for p in probs]
        expected = [jacobian @ row for jacobian, row in zip(jacobians, by_probability, strict=True)]
    np.testing.assert_allclose(calculus.logit_gradient(probs, targets, loss), expected, atol=1e-12)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_three_ways_lead_to_the_same_gradients(strokes, activation, loss):
    for seed in range(5):
        step = explain_step(strokes, config_of(loss=loss, seed=seed), [], activation)
        assert step.check.autograd_error < 1e-14
        assert step.check.differences_error < 1e-8
        assert step.update.loss < step.forward.loss
        assert max(np.abs(gradient).max() for gradient in step.gradients.parameters.values()) > 1e-3


def test_the_differences_shown_are_the_largest():
    these, those = {"a": np.array([1.0, 2.0])}, {"a": np.array([1.5, 1.0])}
    assert toy.largest_difference(these, those) == 1


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("cross-entropy", -np.log([0.5, 0.25]).mean()),
        ("bce", -np.log([0.5, 0.5, 0.75, 0.25, 0.25, 0.5]).sum() / 2),
        ("mse", (0.25 + 0.25 + 0.0625 + 0.5625 + 0.5625 + 0.25) / 2),
        ("mae", (0.5 + 0.5 + 0.25 + 0.75 + 0.75 + 0.5) / 2),
    ],
)
def test_losses_are_what_they_come_to_by_hand(loss, expected):
    probs, targets = np.array([[0.5, 0.5, 0.25], [0.75, 0.25, 0.5]]), np.array([[1, 0, 0], [0, 1, 0]])
    assert calculus.image_losses(probs, targets, loss).mean() == pytest.approx(expected)


def test_the_batch_is_an_image_of_each_class_in_quarters(strokes):
    batch = toy.take_batch(strokes, seed=0)
    images = np.array(batch.images)
    assert images.shape == (3, 20, 20)
    for digit, image, row in zip(batch.digits, images, batch.inputs, strict=True):
        same = [np.array_equal(other[0, 4:24, 4:24], image) for other in strokes.images]
        assert strokes.targets[same].tolist() == [digit]
        quarters = [image[:10, :10], image[:10, 10:], image[10:, :10], image[10:, 10:]]
        assert row == pytest.approx([quarter.mean() / 255 for quarter in quarters], abs=0.005)
    assert batch.targets.argmax(1).tolist() == list(batch.digits)
    assert toy.take_batch(strokes, seed=0).images == batch.images != toy.take_batch(strokes, seed=1).images


def test_a_set_without_one_of_the_digits_is_refused(strokes):
    with pytest.raises(DataError, match="strokes has no image of a 1"):
        toy.take_batch(strokes.take((strokes.targets != 1).nonzero()[:, 0]), seed=0)


@given(st.integers(0, 1000))
def test_parameters_are_plain_numbers(seed):
    for name, values in toy.draw_parameters(seed).items():
        assert np.abs(values).max() <= (1 if name.startswith("W") else 0.2)
        np.testing.assert_allclose(values * 10, np.rint(values * 10), atol=1e-12)


PYTORCH = {
    "plain": lambda groups: optim.SGD(groups, lr=0.1),
    "sgd": lambda groups: optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True),
    "rmsprop": lambda groups: optim.RMSprop(groups, lr=0.001),
    "adagrad": lambda groups: optim.Adagrad(groups, lr=0.01),
    "adadelta": lambda groups: optim.Adadelta(groups, lr=1.0),
    "adam": lambda groups: optim.Adam(groups, lr=0.002),
    "adamw": lambda groups: optim.AdamW(groups, lr=0.004),
}


@pytest.mark.parametrize("name", PYTORCH)
def test_each_rule_is_pytorchs(strokes, name):
    config = config_of(momentum=0.0) if name == "plain" else config_of(name)
    batch, parameters = toy.take_batch(strokes, 1), toy.draw_parameters(1)
    random = np.random.default_rng(1)
    gradients = {key: random.normal(size=value.shape) for key, value in parameters.items()}
    done = take_step(config, parameters, gradients, batch, "relu")
    assert done.optimizer == name
    assert done.error < 1e-14
    for key, value in parameters.items():
        tensor = nn.Parameter(torch.from_numpy(value.copy()))
        tensor.grad = torch.from_numpy(gradients[key])
        decay = {"weight_decay": 0.05 if name == "adamw" and key.startswith("W") else 0.0}
        PYTORCH[name]([{"params": [tensor], **decay}]).step()
        np.testing.assert_allclose(done.parameters[key], tensor.detach().numpy(), atol=1e-14)
        np.testing.assert_allclose(done.parameters[key], value + done.changes[key])
    assert done.loss == toy.forward(done.parameters, batch, "relu", "cross-entropy").loss


def test_the_plain_rule_is_learning_rate_times_gradient(strokes):
    config = config_of(momentum=0.0, learning_rate=0.5)
    step = explain_step(strokes, config, [replace(config, learning_rate=0.25)], "tanh")
    for rule, rate in ((step.update, 0.5), (step.rules[0], 0.25)):
        for name, before in step.parameters.items():
            np.testing.assert_allclose(rule.parameters[name], before - rate * step.gradients.parameters[name])


def test_the_loss_by_learning_rate_is_the_steps(strokes):
    config = config_of(momentum=0.0, loss="mse")
    others = [replace(config, learning_rate=rate) for rate in (0.01, 1.0, 30.0)]
    step = explain_step(strokes, config, others, "silu")
    numbers = step.parameters, step.gradients.parameters, step.batch
    assert losses_by_rate([0.01, 1.0, 30.0], *numbers, "silu", "mse") == [rule.loss for rule in step.rules]


@pytest.mark.parametrize("arguments", [[], *([("--loss", name)] for name in LOSSES)])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_the_text_fits_into_80_columns(arguments, activation):
    done = run(*(part for pair in arguments for part in pair), "--activation", activation, "--seed", 3)
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert max(map(len, lines)) <= 80
    assert "▄" in done.output
    assert not [line for line in lines if "nan" in line]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_update_is_shown_with_its_rule(optimizer):
    done = run("--optimizer", optimizer, "--learning-rate", 0.03125, "--ascii")
    assert done.output.isascii()
    assert f"The update: {optimizer}, learning rate 0.03125" in done.output
    line = next(line for line in done.output.splitlines() if line.startswith(f"  {optimizer} "))
    assert line.split()[1] == "0.03125"


def test_what_is_written_out_adds_up():
    lines = run("--seed", 2).output.splitlines()
    sums = [line.split(" = ") for line in lines if line.startswith("  ") and line.count(" = ") == 2 and "*" in line]
    assert len(sums) == 5  # Z, S, dW2, dH and dW1
    for _, written, result in sums:
        assert eval(written) == pytest.approx(float(result), abs=2e-4)


def test_json_holds_every_number():
    document = json.loads(run("--json", "--optimizer", "adam", "--seed", 4).output)
    parameters, x = (
        {name: np.array(value) for name, value in document["parameters"].items()},
        document["batch"]["inputs"],
    )
    hidden = np.maximum(x @ parameters["W1"].T + parameters["b1"], 0)
    np.testing.assert_allclose(document["forward"]["hidden"], hidden)
    np.testing.assert_allclose(document["forward"]["logits"], hidden @ parameters["W2"].T + parameters["b2"])
    assert [rule["optimizer"] for rule in document["rules"]] == ["plain", *OPTIMIZERS]
    assert document["update"] == document["rules"][5]


@pytest.mark.parametrize("loss", ["cross-entropy", "bce"])
def test_a_step_so_large_that_the_loss_is_infinite_is_shown_all_the_same(loss):
    done = run("--json", "--loss", loss, "--learning-rate", 1e6)
    assert done.stderr == ""
    document = json.loads(done.stdout, parse_constant=pytest.fail)  # of Infinity and NaN, which are no JSON
    assert document["update"]["loss"] is None
    assert document["forward"]["loss"] > 0


def test_figures_are_drawn(tmp_path):
    done = run("--output", tmp_path)
    names = ["forward.png", "update.png", "rules.png", "rates.png"]
    assert done.stderr.splitlines() == [f"Drew {tmp_path / name}." for name in names]
    for name in names:
        with Image.open(tmp_path / name) as picture:
            assert picture.width == 1200


def test_without_mnist_strokes_are_taken_and_it_is_said():
    done = CliRunner().invoke(app, ["explain", "step"])
    assert done.exit_code == 0
    assert "Taking strokes instead" in done.stderr
    assert CliRunner().invoke(app, ["explain", "step", "--dataset", "mnist"]).exit_code == 1


@pytest.mark.parametrize(
    ("rate", "said"),
    [
        (0, "a finite number above 0, not 0.0"),
        ("nan", "a finite number above 0, not nan"),
        (1e7, "at most 1,000,000 here, not 1e+07"),
    ],
)
def test_a_wrong_learning_rate_is_refused_in_a_line(rate, said):
    done = run("--learning-rate", rate)
    assert (done.exit_code, done.stderr) == (2, f"error: --learning-rate must be {said}\n")


@pytest.mark.parametrize("columns", [40, 60])
def test_a_narrow_terminal_shows_the_same_numbers_each_whole(monkeypatch, columns):
    def numbers(text):
        return set(re.findall(r"[\d.e+-]*\d", text))

    wide = run("--optimizer", "adamw", "--seed", 3).stdout
    monkeypatch.setenv("COLUMNS", str(columns))
    narrow = run("--optimizer", "adamw", "--seed", 3).stdout
    assert numbers(narrow) == numbers(wide)
    assert max(map(len, narrow.splitlines())) <= columns
