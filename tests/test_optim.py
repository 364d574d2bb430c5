"""Optimizers against their textbook rules in numpy, schedules against torch's own and closed forms."""

import math
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim import SGD
from torch.optim import lr_scheduler as torch_schedules

from digitnet.config import OptimizerName, ScheduleName, TrainConfig
from digitnet.models import build_model
from digitnet.optim import FINAL_RATE, FIRST_RATE, build_optimizer, learning_rate, set_learning_rate
from digitnet.recipes import build_config

RATE, DECAY = 0.05, 0.1

# Each rule takes (weights, gradient, memory) of one tensor to its new weights; memory starts empty.


def sgd(w, g, memory, momentum=0.0, nesterov=False):
    memory["v"] = v = momentum * memory.get("v", 0) + g
    return w - RATE * (g + momentum * v if nesterov else v)


def rmsprop(w, g, memory, momentum=0.0):
    memory["s"] = 0.99 * memory.get("s", 0) + 0.01 * g**2
    memory["v"] = momentum * memory.get("v", 0) + g / (np.sqrt(memory["s"]) + 1e-8)
    return w - RATE * memory["v"]


def adagrad(w, g, memory):
    memory["s"] = memory.get("s", 0) + g**2
    return w - RATE * g / (np.sqrt(memory["s"]) + 1e-10)


def adadelta(w, g, memory):
    memory["s"] = 0.9 * memory.get("s", 0) + 0.1 * g**2
    change = np.sqrt(memory.get("u", 0) + 1e-6) / np.sqrt(memory["s"] + 1e-6) * g
    memory["u"] = 0.9 * memory.get("u", 0) + 0.1 * change**2
    return w - RATE * change


def adam(w, g, memory):
    memory["t"] = t = memory.get("t", 0) + 1
    memory["m"] = 0.9 * memory.get("m", 0) + 0.1 * g
    memory["s"] = 0.999 * memory.get("s", 0) + 0.001 * g**2
    return w - RATE * (memory["m"] / (1 - 0.9**t)) / (np.sqrt(memory["s"] / (1 - 0.999**t)) + 1e-8)


RULES = [
    ({"optimizer": "sgd"}, sgd),
    ({"optimizer": "sgd", "momentum": 0.9}, lambda w, g, m: sgd(w, g, m, 0.9)),
    ({"optimizer": "sgd", "momentum": 0.8, "nesterov": True}, lambda w, g, m: sgd(w, g, m, 0.8, True)),
    ({"optimizer": "rmsprop"}, rmsprop),
    ({"optimizer": "rmsprop", "momentum": 0.7}, lambda w, g, m: rmsprop(w, g, m, 0.7)),
    ({"optimizer": "adagrad"}, adagrad),
    ({"optimizer": "adadelta"}, adadelta),
    ({"optimizer": "adam"}, adam),
    ({"optimizer": "adamw"}, adam),
]


@pytest.mark.parametrize("decay", [0.0, DECAY])
@pytest.mark.parametrize(("chosen", "rule"), RULES)
def test_three_steps_follow_the_textbook(chosen, rule, decay):
    model = nn.Linear(3, 2).double()
    optimizer = build_optimizer(model, TrainConfig(learning_rate=RATE, weight_decay=decay, **chosen))
    rng = np.random.default_rng(0)
    expected = {name: p.detach().numpy().copy() for name, p in model.named_parameters()}
    memory = {"weight": {}, "bias": {}}
    for _ in range(3):
        for name, parameter in model.named_parameters():
            gradient = rng.normal(size=tuple(parameter.shape))
            parameter.grad = torch.from_numpy(gradient.copy())
            drawn = decay if name == "weight" else 0.0  # biases are not decayed
            if chosen["optimizer"] == "adamw":
                expected[name] = expected[name] * (1 - RATE * drawn)  # apart from the gradient, and before the step
            else:
                gradient = gradient + drawn * expected[name]
            expected[name] = rule(expected[name], gradient, memory[name])
        optimizer.step()
        for name, parameter in model.named_parameters():
            np.testing.assert_allclose(parameter.detach().numpy(), expected[name], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", get_args(OptimizerName))
def test_every_parameter_is_trained_and_only_matrices_and_kernels_decay(name):
    run = build_config(overrides={"optimizer": name, "weight_decay": 0.5, "hidden_sizes": (4,), "channels": (2, 3)})
    model = build_model(run.model)
    decays = {id(p): g["weight_decay"] for g in build_optimizer(model, run.train).param_groups for p in g["params"]}
    for parameter_name, parameter in model.named_parameters():
        is_kernel = parameter_name.endswith("weight") and "norm" not in parameter_name
        assert decays.pop(id(parameter)) == (0.5 if is_kernel else 0.0), parameter_name
    assert not decays


def test_the_learning_rate_is_set_for_all_parameters():
    optimizer = build_optimizer(nn.Linear(2, 2), TrainConfig())
    set_learning_rate(optimizer, 0.123)
    assert [group["lr"] for group in optimizer.param_groups] == [0.123, 0.123]


# Schedules: rates of steps 1 to the last.


def rates(config, steps_per_epoch):
    return [learning_rate(config, step, steps_per_epoch) for step in range(1, config.epochs * steps_per_epoch + 1)]


def torch_rates(count, make_schedule, each=1):
    """Return the rates of torch's own schedule, which moves once in `each` steps."""
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=RATE)
    schedule, found = make_schedule(optimizer), []
    for step in range(1, count + 1):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step % each == 0 and step < count:
            schedule.step()
    return found


def config(schedule, epochs=5, **settings):
    return TrainConfig(schedule=schedule, epochs=epochs, learning_rate=RATE, **settings)


def test_constant_is_constant():
    assert rates(config("constant"), 4) == [RATE] * 20


@pytest.mark.parametrize("step_epochs", [1, 2, 7])
def test_step_is_that_of_torch(step_epochs):
    expected = torch_rates(20, lambda o: torch_schedules.StepLR(o, step_epochs, gamma=0.7), each=4)
    assert rates(config("step", step_epochs=step_epochs, step_factor=0.7), 4) == pytest.approx(expected, rel=1e-12)


def test_cosine_is_that_of_torch():
    expected = torch_rates(20, lambda o: torch_schedules.CosineAnnealingLR(o, 19, eta_min=RATE * FINAL_RATE))
    assert rates(config("cosine", warmup=0.0), 4) == pytest.approx(expected, rel=1e-9)
    assert rates(config("cosine"), 4) == pytest.approx(expected, rel=1e-9)  # no warm-up unless it is given


def test_cosine_warms_up_in_a_straight_line():
    found = rates(config("cosine", warmup=0.25), 4)  # 5 of 20 steps
    assert found[:5] == pytest.approx([RATE * n / 5 for n in (1, 2, 3, 4, 5)])
    expected = torch_rates(15, lambda o: torch_schedules.CosineAnnealingLR(o, 14, eta_min=RATE * FINAL_RATE))
    assert found[5:] == pytest.approx(expected, rel=1e-9)


def test_one_cycle_has_the_halves_of_torch():
    found = rates(config("one-cycle", warmup=0.25), 4)
    expected = torch_rates(
        20,  # torch begins one step lower and stays at the top for one step less
        lambda o: torch_schedules.OneCycleLR(
            o,
            max_lr=RATE,
            total_steps=20,
            pct_start=6 / 20,
            div_factor=1 / FIRST_RATE,
            final_div_factor=FIRST_RATE / FINAL_RATE,
            cycle_momentum=False,
        ),
    )
    assert found[:5] == pytest.approx(expected[1:6], rel=1e-9)
    assert found[5:] == pytest.approx(expected[5:], rel=1e-9)


def test_one_cycle_by_its_closed_form():
    found = rates(config("one-cycle", epochs=10, warmup=0.3), 10)  # 30 steps up, 70 down
    low, end = RATE * FIRST_RATE, RATE * FINAL_RATE
    up = [low + (RATE - low) * math.sin(math.pi / 2 * n / 30) ** 2 for n in range(1, 31)]
    down = [end + (RATE - end) * math.cos(math.pi / 2 * n / 69) ** 2 for n in range(70)]
    assert found == pytest.approx(up + down, rel=1e-9)


EPOCHS, STEPS = st.integers(1, 8), st.integers(1, 40)


@given(st.sampled_from(get_args(ScheduleName)), EPOCHS, STEPS, st.floats(0, 0.99), st.floats(0.1, 0.9))
@settings(deadline=None, max_examples=200)
def test_every_schedule_rises_at_most_once_then_falls(schedule, epochs, steps_per_epoch, warmup, factor):
    settings = {"step": {"step_epochs": 2, "step_factor": factor}, "constant": {}}.get(schedule, {"warmup": warmup})
    found = rates(config(schedule, epochs, **settings), steps_per_epoch)
    top = found.index(max(found))
    assert found[: top + 1] == sorted(found[: top + 1])
    assert found[top:] == sorted(found[top:], reverse=True)
    assert all(0 < rate <= RATE * (1 + 1e-12) for rate in found)
    assert max(found) == pytest.approx(RATE)
    if schedule in ("cosine", "one-cycle") and len(found) * (1 - warmup) > 3:
        assert top < warmup * len(found) + 1
        assert found[-1] == pytest.approx(RATE * FINAL_RATE)


@pytest.mark.parametrize("schedule", get_args(ScheduleName))
def test_the_rate_scales_the_whole_schedule(schedule):
    run = build_config(overrides={"schedule": schedule}).train
    assert rates(replace(run, learning_rate=0.02), 3) == pytest.approx(
        [10 * rate for rate in rates(replace(run, learning_rate=0.002), 3)]
    )
