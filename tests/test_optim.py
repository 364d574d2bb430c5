"""Optimizers against their textbook rules in numpy, schedules against torch's own and closed forms."""

import copy
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
from digitnet.optim import (
    FINAL_RATE,
    FIRST_RATE,
    WeightAverage,
    build_optimizer,
    is_capturable,
    learning_rate,
    set_learning_rate,
    update,
)
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


def adam(w, g, memory, first=0.9, second=0.999):
    memory["t"] = t = memory.get("t", 0) + 1
    memory["m"] = first * memory.get("m", 0) + (1 - first) * g
    memory["s"] = second * memory.get("s", 0) + (1 - second) * g**2
    return w - RATE * (memory["m"] / (1 - first**t)) / (np.sqrt(memory["s"] / (1 - second**t)) + 1e-8)


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
    ({"optimizer": "adam", "betas": (0.7, 0.95)}, lambda w, g, m: adam(w, g, m, 0.7, 0.95)),
    ({"optimizer": "adamw", "betas": (0.0, 0.8)}, lambda w, g, m: adam(w, g, m, 0.0, 0.8)),
]


@pytest.mark.parametrize("decay", [0.0, DECAY])
@pytest.mark.parametrize(("chosen", "rule"), RULES)
def test_three_steps_follow_the_textbook(chosen, rule, decay):
    model = nn.Linear(3, 2).double()
    optimizer = build_optimizer(model, TrainConfig(epochs=1, learning_rate=RATE, weight_decay=decay, **chosen))
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
        update(optimizer)
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


@pytest.mark.parametrize(("chosen", "rule"), RULES)
def test_an_update_is_a_step_of_the_optimizer(chosen, rule):  # noqa: ARG001 (torch's own step is what counts here)
    model = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3))
    models = [model, copy.deepcopy(model)]
    optimizers = [build_optimizer(m, TrainConfig(epochs=1, weight_decay=DECAY, **chosen)) for m in models]
    rng = torch.Generator().manual_seed(0)
    for _ in range(4):
        for pair in zip(*(m.parameters() for m in models), strict=True):
            pair[0].grad = torch.randn(pair[0].shape, generator=rng)
            pair[1].grad = pair[0].grad.clone()
        update(optimizers[0])
        optimizers[1].step()
    for ours, torchs in zip(*(m.parameters() for m in models), strict=True):
        assert torch.equal(ours, torchs)
        assert ours.requires_grad
    assert not is_capturable(optimizers[0])  # which takes a GPU


def test_the_rate_of_a_captured_step_is_set_where_it_lies():
    optimizer = SGD([nn.Parameter(torch.zeros(2))], lr=torch.tensor(0.5), fused=True)
    rate = optimizer.param_groups[0]["lr"]
    assert is_capturable(optimizer)
    set_learning_rate(optimizer, 0.25)
    assert optimizer.param_groups[0]["lr"] is rate
    assert rate.item() == 0.25


def test_the_learning_rate_is_set_for_all_parameters():
    optimizer = build_optimizer(nn.Linear(2, 2), TrainConfig(epochs=1))
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


def test_trapezoid_is_that_of_torch():
    found = rates(config("trapezoid", warmup=0.2, cooldown=0.4), 4)  # 4 of 20 steps up, 8 down
    rise = torch_rates(4, lambda o: torch_schedules.LinearLR(o, start_factor=1 / 4, total_iters=3))
    fall = torch_rates(9, lambda o: torch_schedules.LinearLR(o, 1.0, end_factor=FINAL_RATE, total_iters=8))
    assert found == pytest.approx(rise + [RATE] * 7 + fall, rel=1e-9)


def test_trapezoid_without_a_cooldown_stays_at_the_top():
    assert rates(config("trapezoid"), 4) == rates(config("constant"), 4)


@pytest.mark.parametrize("schedule", ["cosine", "one-cycle", "trapezoid"])
@pytest.mark.parametrize("warmup", [0.0, 0.3])
def test_a_schedule_over_steps_is_that_over_epochs_of_as_many(schedule, warmup):
    settings = {"warmup": warmup, **({"cooldown": 0.25} if schedule == "trapezoid" else {})}
    whole = TrainConfig(schedule=schedule, **settings, steps=20, learning_rate=RATE)
    found = [learning_rate(whole, step, 7) for step in range(1, 21)]  # 2 epochs of 7 steps, and 6 more
    assert found == rates(config(schedule, **settings), 4)
    assert found[-1] == pytest.approx(RATE * FINAL_RATE)


def test_the_step_schedule_falls_by_epochs_also_where_steps_are_given():
    falling = TrainConfig(schedule="step", step_epochs=2, step_factor=0.5, steps=7, learning_rate=RATE)
    assert [learning_rate(falling, step, 3) for step in range(1, 8)] == [RATE] * 6 + [RATE / 2]


EPOCHS, STEPS = st.integers(1, 8), st.integers(1, 40)


@given(st.sampled_from(get_args(ScheduleName)), EPOCHS, STEPS, st.floats(0, 0.99), st.floats(0.1, 0.9))
@settings(deadline=None, max_examples=200)
def test_every_schedule_rises_at_most_once_then_falls(schedule, epochs, steps_per_epoch, warmup, factor):
    settings = {
        "step": {"step_epochs": 2, "step_factor": factor},
        "constant": {},
        "trapezoid": {"warmup": warmup, "cooldown": (1 - warmup) * factor},
    }.get(schedule, {"warmup": warmup})
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


# The mean of the weights.


def walk(model, steps):
    """Put a model through made-up weights and statistics, a set for each step; yields each as numpy numbers."""
    rng = np.random.default_rng(0)
    for _ in range(steps):
        numbers = {name: rng.normal(size=tuple(t.shape)) for name, t in floats(model).items()}
        for name, tensor in floats(model).items():
            tensor.data.copy_(torch.from_numpy(numbers[name]))
        yield numbers


def floats(model):
    return {name: tensor for name, tensor in model.state_dict().items() if tensor.is_floating_point()}


@pytest.mark.parametrize("decay", [0.0, 0.2, 0.5, 0.9])
def test_the_average_forgets_quickly_at_first(decay):
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).double()
    mean = copy.deepcopy(model)
    average, seen = WeightAverage(mean, model, decay), []
    for step, numbers in enumerate(walk(model, 15), start=1):
        seen.append(numbers)
        average.set_step(step)
        average.update()
        for name, tensor in floats(mean).items():
            values = np.stack([numbers[name] for numbers in seen])
            expected = values[0]
            for number, value in enumerate(values[1:], start=2):
                kept = min(decay, (number - 1) / (number + 8))  # 1/10 at the second step, 1/2 at the tenth
                expected = kept * expected + (1 - kept) * value
            np.testing.assert_allclose(tensor.numpy(), expected, rtol=1e-5, atol=1e-6, err_msg=f"{name}, step {step}")
            np.testing.assert_array_equal(floats(model)[name].numpy(), numbers[name])  # what is trained stays
    assert {"0.weight", "1.running_mean", "1.running_var"} <= floats(mean).keys()
