"""The training loop: it learns, it repeats itself, it stops when told to, and it counts right."""

import copy
import math
from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from digitnet import engine, evaluation, stepper, stopping, trainer
from digitnet.config import CNNConfig, MLPConfig, TrainConfig
from digitnet.data.augment import augment
from digitnet.data.digits import Digits
from digitnet.data.nondigits import draw_nondigits
from digitnet.data.strokes import draw_strokes
from digitnet.device import derive_seed
from digitnet.engine import fit
from digitnet.errors import DigitnetError
from digitnet.evaluation import evaluate, logits_of
from digitnet.gauge import Gauge
from digitnet.losses import build_loss
from digitnet.metrics import Metrics
from digitnet.models import build_model, to_float
from digitnet.optim import FINAL_RATE, build_optimizer, learning_rate, set_learning_rate
from digitnet.progress import EpochResult, StepResult
from digitnet.rejection import auroc, digit_score
from digitnet.step import train_step
from digitnet.trainer import epoch_batches

LINEAR = MLPConfig(hidden_sizes=(), activation="identity")
MLP = MLPConfig(hidden_sizes=(16,), dropout=0.2, batch_norm=True)
CNN = CNNConfig(channels=(4,), pool_size=4, pool_stride=4, dropout=0.2)
CONFIG = TrainConfig(epochs=3, batch_size=8, optimizer="adam", schedule="constant", learning_rate=1e-3)


def noise(count=50, seed=0):
    """Make digits of random pixels and random targets."""
    rng = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 1, 28, 28), dtype=torch.uint8, generator=rng)
    targets = torch.randint(0, 10, (count,), generator=rng)
    return Digits(name="noise", images=images, targets=targets, fingerprint="")


def fresh(config, seed=0):
    torch.manual_seed(seed)
    return build_model(config)


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def epochs_of(results):
    return [result for result in results if isinstance(result, EpochResult)]


def trained(config, model_config=LINEAR, **options):
    model = fresh(model_config)
    list(fit(model, noise(), noise(20, 1), config, **options))
    return state(model)


# Learning.


@pytest.mark.parametrize(
    "config",
    [
        MLPConfig(hidden_sizes=(64,)),
        MLPConfig(hidden_sizes=(32, 32), batch_norm=True),
        CNNConfig(channels=(8, 8), pool_size=2, pool_stride=2),
        CNNConfig(channels=(8, 8), pool_size=2, pool_stride=2, batch_norm=False, hidden_sizes=(32,)),
    ],
)
def test_one_batch_is_learnt_by_heart(config):
    batch, model = noise(16), fresh(config)
    training = replace(CONFIG, epochs=60, batch_size=16, learning_rate=5e-3)
    epochs = epochs_of(fit(model, batch, batch, training))
    assert epochs[0].train_loss > 1.5  # guessing costs log(10) = 2.3
    assert epochs[-1].train_loss < 0.02
    assert epochs[-1].train_accuracy == 1.0
    assert evaluate(model, batch, build_loss("cross-entropy")).accuracy == 1.0


def test_a_step_is_what_it_is_by_hand():
    model, batch, rate = fresh(LINEAR), noise(8), 0.1
    weight, bias = (p.detach().double().numpy() for p in model.parameters())
    x, y = batch.images.numpy().reshape(8, 784) / 255, batch.targets.numpy()
    z = x @ weight.T + bias
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    slope = (p - np.eye(10)[y]) / 8  # of the mean cross-entropy by the logits
    sgd = TrainConfig(epochs=1, optimizer="sgd", learning_rate=rate)
    optimizer = build_optimizer(model, sgd)
    loss, right = train_step(
        model, to_float(batch.images), batch.targets, build_loss("cross-entropy"), optimizer, torch.float32
    )
    assert loss.item() == pytest.approx(-np.log(p[range(8), y]).mean(), rel=1e-5)
    assert right.item() == (z.argmax(1) == y).sum()
    np.testing.assert_allclose(model.head.output.weight.detach(), weight - rate * slope.T @ x, atol=1e-6)
    np.testing.assert_allclose(model.head.output.bias.detach(), bias - rate * slope.sum(0), atol=1e-6)
    assert not loss.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())  # nothing adds up over steps


def test_pixels_become_shares():
    images = noise(3).images
    before = images.clone()
    assert to_float(images).dtype == torch.float32
    np.testing.assert_allclose(to_float(images).numpy(), before.numpy() / 255, rtol=1e-6)
    assert torch.equal(images, before)


# Order and randomness.


@pytest.mark.parametrize(("count", "batch_size"), [(50, 8), (50, 50), (50, 64), (7, 2), (7, 3), (1, 5), (64, 8)])
def test_batches_hold_each_image_once_and_are_equal_to_within_one(count, batch_size):
    batches = tuple(epoch_batches(count, 1, replace(CONFIG, batch_size=batch_size)))
    assert sorted(torch.cat(batches).tolist()) == list(range(count))
    sizes = [len(batch) for batch in batches]
    assert len(sizes) == -(-count // batch_size)
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1


def test_the_order_follows_from_seed_and_epoch_alone():
    seventh = torch.cat(tuple(epoch_batches(100, 7, CONFIG)))
    for epoch in range(1, 7):
        assert not torch.equal(torch.cat(tuple(epoch_batches(100, epoch, CONFIG))), seventh)
        torch.rand(1)
    assert torch.equal(torch.cat(tuple(epoch_batches(100, 7, CONFIG))), seventh)
    assert torch.equal(torch.cat(tuple(epoch_batches(100, 7, replace(CONFIG, batch_size=3)))), seventh)
    assert not torch.equal(torch.cat(tuple(epoch_batches(100, 7, replace(CONFIG, seed=1)))), seventh)
    assert not torch.equal(seventh, torch.arange(100))


@pytest.mark.parametrize("model_config", [MLP, CNN])
def test_a_seed_gives_the_same_weights_to_the_bit(model_config):
    config = replace(CONFIG, augment="elastic")
    first = trained(config, model_config)
    torch.rand(5)
    assert same(trained(config, model_config), first)
    assert not same(trained(replace(config, seed=1), model_config), first)


def test_what_is_done_between_epochs_leaves_the_next_one_alone():
    config, disturbed = replace(CONFIG, augment="affine"), fresh(MLP)
    for result in fit(disturbed, noise(), noise(20, 1), config):
        if isinstance(result, EpochResult):
            torch.rand(7)
            disturbed.eval()
    assert same(state(disturbed), trained(config, MLP))


CHANGES = {
    "augment": {"augment": "affine"},
    "epochs": {"epochs": 4},
    "steps": {"epochs": None, "steps": 20},
    "batch_size": {"batch_size": 9},
    "loss": {"loss": "bce"},
    "label_smoothing": {"label_smoothing": 0.1},
    "optimizer": {"optimizer": "adamw", "momentum": None},
    "learning_rate": {"learning_rate": 0.2},
    "momentum": {"momentum": 0.5},
    "nesterov": {"nesterov": True},
    "betas": {"optimizer": "adam", "momentum": None, "betas": (0.5, 0.9)},
    "weight_decay": {"weight_decay": 0.5},
    "weight_average": {"weight_average": 0.5},
    "max_grad_norm": {"max_grad_norm": 0.1},
    "schedule": {"schedule": "cosine"},
    "warmup": {"schedule": "cosine", "warmup": 0.5},
    "cooldown": {"schedule": "trapezoid", "warmup": 0.0, "cooldown": 0.5},
    "step_epochs": {"schedule": "step", "step_epochs": 1, "step_factor": 0.5},
    "step_factor": {"schedule": "step", "step_epochs": 1, "step_factor": 0.25},
    "seed": {"seed": 1},
}
OUTSIDE = {"dataset", "train_size", "extra_strokes", "nondigits", "device", "precision"}  # for the caller of fit
OUTSIDE |= {"on_nan", "deterministic"}  # likewise
OUTSIDE |= {"shuffle_window"}  # below: it is for sets that are larger
STOPPING = {"patience", "until_accuracy", "time_budget_s"}  # below


def test_no_option_is_ignored():
    assert set(CHANGES) == {field.name for field in fields(TrainConfig)} - OUTSIDE - STOPPING
    base = replace(CONFIG, optimizer="sgd", learning_rate=0.1, momentum=0.9)
    configs = [base, *(replace(base, **changes) for changes in CHANGES.values())]
    found = [trained(config)["head.output.weight"] for config in configs]
    assert all(not torch.equal(a, b) for n, a in enumerate(found) for b in found[:n])


def test_a_window_shuffles_a_larger_set_in_another_order():
    digits = noise(1_100)
    weights = []
    for window in (None, 1_024, 1_100):
        model = fresh(LINEAR)
        for _ in fit(model, digits, noise(20, 1), replace(CONFIG, epochs=1, batch_size=100, shuffle_window=window)):
            pass
        weights.append(state(model))
    assert not same(weights[0], weights[1])
    assert same(weights[0], weights[2])


def test_bf16_keeps_the_weights_in_full():
    coarse, fine = trained(CONFIG, MLP, dtype=torch.bfloat16), trained(CONFIG, MLP)
    assert all(coarse[name].dtype == fine[name].dtype for name in fine)
    assert not same(coarse, fine)
    torch.testing.assert_close(coarse["head.norm1.running_mean"], fine["head.norm1.running_mean"], atol=0.05, rtol=0.1)


# Evaluation.


@pytest.mark.parametrize("model_config", [MLP, CNN])
@pytest.mark.parametrize("name", ["cross-entropy", "bce", "mse", "mae"])
def test_an_evaluation_does_not_depend_on_its_batches(monkeypatch, model_config, name):
    digits, model, loss_fn = noise(), fresh(model_config), build_loss(name)
    found = []
    for size in (1, 7, 50, 1000):
        monkeypatch.setattr(evaluation, "EVAL_BATCH", size)
        found.append(evaluate(model, digits, loss_fn))
    assert len({metrics.confusion for metrics in found}) == 1
    logits = model.eval()(digits.images / 255)
    assert [metrics.loss for metrics in found] == pytest.approx([loss_fn(logits, digits.targets).item()] * 4, rel=1e-5)
    assert found[0].count == 50
    assert found[0].accuracy == (logits.argmax(1) == digits.targets).double().mean().item()
    for row, column in zip(digits.targets.tolist(), logits.argmax(1).tolist(), strict=True):
        assert found[0].confusion[row][column] > 0


@pytest.mark.parametrize("training", [True, False])
def test_an_evaluation_leaves_the_network_as_it_was(training):
    model = fresh(CNN).train(training)
    before = state(model)
    evaluate(model, noise(), build_loss("mse"))
    assert same(state(model), before)
    assert model.training is training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_validation_images_teach_nothing():
    states = []
    for validation in (noise(20, 1), noise(30, 2)):
        model = fresh(MLP)
        list(fit(model, noise(), validation, CONFIG))
        states.append(state(model))
    assert same(*states)


# What a run reports.


def test_steps_and_epochs_are_counted_from_one():
    results = list(fit(fresh(LINEAR), noise(), noise(20, 1), CONFIG))
    steps = [result for result in results if isinstance(result, StepResult)]
    epochs = epochs_of(results)
    assert [result.epoch for result in epochs] == [1, 2, 3]
    assert [result.step for result in epochs] == [7, 14, 21]  # 50 images in batches of at most 8
    assert [result.step for result in steps] == list(range(1, 22))
    assert [result.epoch for result in steps] == [1] * 7 + [2] * 7 + [3] * 7
    assert {result.total_steps for result in steps} == {21}
    assert [result.elapsed_s for result in results] == sorted(result.elapsed_s for result in results)
    assert all(result.images_per_s > 0 for result in results)
    assert [result.validation.count for result in epochs] == [20] * 3
    assert [result.stop for result in epochs] == [None, None, "epochs"]


def test_long_epochs_report_some_twenty_times():
    results = list(fit(fresh(LINEAR), noise(500), noise(20, 1), replace(CONFIG, epochs=2, batch_size=2)))
    reports = [result for result in results if isinstance(result, StepResult) and result.epoch == 2]
    assert 20 <= len(reports) <= 25  # of 250 steps


def test_the_training_figures_are_means_over_the_images():
    model, digits = fresh(LINEAR), noise(10)
    still = replace(CONFIG, batch_size=4, optimizer="sgd", learning_rate=1e-12)  # batches of 4, 3 and 3
    expected = evaluate(model, digits, build_loss("cross-entropy"))
    for result in fit(model, digits, noise(20, 1), still):
        if isinstance(result, EpochResult):
            assert result.train_loss == pytest.approx(expected.loss, rel=1e-5)
            assert result.train_accuracy == expected.accuracy


@pytest.mark.parametrize("changes", [{}, {"label_smoothing": 0.3}, {"weight_average": 0.9}])
def test_validation_is_of_the_network_yielded_and_without_smoothing(changes):
    model = fresh(MLP)
    for result in fit(model, noise(), noise(20, 1), replace(CONFIG, **changes)):
        if isinstance(result, EpochResult):
            assert result.validation == evaluate(copy.deepcopy(model), noise(20, 1), build_loss("cross-entropy"))
            assert torch.equal(result.logits, logits_of(copy.deepcopy(model), noise(20, 1).images))


def test_steps_cut_the_last_epoch():
    config = replace(CONFIG, epochs=None, steps=7, batch_size=4, schedule="one-cycle", warmup=0.3)
    results = list(fit(fresh(LINEAR), noise(10), noise(20, 1), config))  # 3 batches an epoch, of 4, 3 and 3 images
    steps = [result for result in results if isinstance(result, StepResult)]
    epochs = epochs_of(results)
    assert [(result.epoch, result.step) for result in steps] == [(1, 1), (1, 2), (1, 3), (2, 4), (2, 5), (2, 6), (3, 7)]
    assert [(result.epoch, result.step, result.stop) for result in epochs] == [
        (1, 3, None),
        (2, 6, None),
        (3, 7, "epochs"),
    ]
    assert {(result.epochs, result.total_steps) for result in steps} == {(3, 7)}
    assert {result.epochs for result in epochs} == {3}
    assert [result.learning_rate for result in epochs] == [learning_rate(config, step, 3) for step in (3, 6, 7)]
    assert epochs[-1].learning_rate == pytest.approx(CONFIG.learning_rate * FINAL_RATE)  # where the schedule ends


def test_the_figures_of_a_cut_epoch_are_of_what_it_saw():
    model, digits = fresh(LINEAR), noise(10)
    still = replace(CONFIG, epochs=None, steps=5, batch_size=4, optimizer="sgd", learning_rate=1e-12)
    *_, last = epochs_of(fit(model, digits, noise(20, 1), still))
    seen = digits.take(torch.cat(tuple(epoch_batches(10, 2, still))[:2]))
    expected = evaluate(model, seen, build_loss("cross-entropy"))
    assert last.train_loss == pytest.approx(expected.loss, rel=1e-5)
    assert last.train_accuracy == pytest.approx(expected.accuracy)


def test_whole_epochs_of_steps_are_epochs_and_fewer_steps_begin_alike():
    whole = trained(CONFIG, MLP)
    assert same(trained(replace(CONFIG, epochs=None, steps=21), MLP), whole)
    assert not same(trained(replace(CONFIG, epochs=None, steps=20), MLP), whole)
    model = fresh(MLP)
    (only,) = epochs_of(fit(model, noise(), noise(20, 1), replace(CONFIG, epochs=None, steps=2)))
    assert (only.epoch, only.epochs, only.step, only.stop) == (1, 1, 2, "epochs")


# What is no digit.


def telling(logits, digits):
    """Mean binary cross-entropy, in numpy, of log-sum-exp as the logit of being one of the digits, which come first."""
    level = np.log(np.exp(logits).sum(1))
    return np.log1p(np.exp(np.where(np.arange(len(logits)) < digits, -level, level))).mean()


def by_hand(config, others):
    """Train as fit does, in one plain loop over each epoch's order."""
    model, digits = fresh(MLP), noise()
    optimizer, plain = build_optimizer(model, config), build_loss(config.loss)

    def loss_fn(logits, targets):
        if others is None:
            return plain(logits, targets)
        level, is_digit = logits.logsumexp(1), torch.zeros(len(logits))
        is_digit[: len(targets)] = 1
        telling = torch.nn.functional.binary_cross_entropy_with_logits(level, is_digit)
        return plain(logits[: len(targets)], targets) + telling

    for epoch in range(1, config.epochs + 1):
        draws = {
            name: torch.Generator().manual_seed(derive_seed(config.seed, epoch, name))
            for name in ("order", "nondigits", "augment")
        }
        batches = np.array_split(torch.randperm(50, generator=draws["order"]).numpy(), 7)
        order = torch.randperm(0 if others is None else len(others), generator=draws["nondigits"]).numpy()
        torch.manual_seed(derive_seed(config.seed, epoch, "dropout"))
        for step, (batch, beside) in enumerate(zip(batches, np.array_split(order, 7), strict=True), start=1):
            images = digits.images[batch]
            if others is not None:
                images = torch.cat([images, others[beside]])
            images = augment(images / 255, config.augment, draws["augment"])
            set_learning_rate(optimizer, learning_rate(config, 7 * (epoch - 1) + step, 7))
            train_step(model.train(), images, digits.targets[batch], loss_fn, optimizer, torch.float32)
    return state(model)


@pytest.mark.parametrize("count", [None, 3, 25, 120])  # none, fewer than there are batches, some, more than digits
@pytest.mark.parametrize("augment_name", ["none", "all"])
def test_training_is_a_plain_loop_to_the_bit(count, augment_name):
    others = None if count is None else noise(count, 9).images
    config = replace(CONFIG, augment=augment_name, schedule="one-cycle", warmup=0.3)
    assert same(trained(config, MLP, nondigits=others), by_hand(config, others))


@pytest.mark.parametrize("count", [3, 25, 120])
def test_each_epoch_passes_once_over_all_in_an_order_of_its_own(monkeypatch, count):
    digits, others = noise(50), noise(count, 9).images
    known = {image.numpy().tobytes(): place for place, image in enumerate(torch.cat([digits.images, others]))}
    seen = []

    def watch(images, *_):
        seen.append([known[image.mul(255).round().byte().numpy().tobytes()] for image in images])
        return images

    monkeypatch.setattr(stepper, "augment", watch)
    list(fit(fresh(LINEAR), digits, noise(20, 1), replace(CONFIG, epochs=2), nondigits=others))
    assert len(seen) == 14
    epochs = [[place for batch in part for place in batch] for part in (seen[:7], seen[7:])]
    assert all(sorted(epoch) == list(range(50 + count)) for epoch in epochs)
    assert epochs[0] != epochs[1]
    shares = [sum(place >= 50 for place in batch) for batch in seen]
    assert max(shares) - min(shares) <= 1
    for batch in seen:  # the digits come first, as the loss takes them to
        assert batch == sorted(batch, key=lambda place: place >= 50)


def test_accuracy_is_of_the_digits_and_the_loss_of_both():
    model, digits, others = fresh(LINEAR), noise(12), noise(6, 9).images
    still = replace(CONFIG, batch_size=4, optimizer="sgd", learning_rate=1e-12, epochs=1)
    expected = evaluate(model, digits, build_loss("cross-entropy"))
    logits = logits_of(model, torch.cat([digits.images, others])).double().numpy()
    *steps, epoch = fit(model, digits, noise(20, 1), still, nondigits=others)
    assert epoch.train_accuracy == expected.accuracy
    assert epoch.train_loss == pytest.approx(expected.loss + telling(logits, 12), rel=1e-5)
    assert [result.step for result in steps] == [1, 2, 3]
    assert epoch.validation == evaluate(model, noise(20, 1), build_loss("cross-entropy"))  # which knows digits only


def test_with_nondigits_the_level_of_the_logits_tells_them_from_digits():
    images, targets = draw_strokes(1500, seed=11)
    digits = Digits(name="strokes", images=images, targets=targets, fingerprint="")
    held_out = draw_strokes(500, seed=12)
    others, unseen = draw_nondigits(1000, images, targets, seed=11), draw_nondigits(500, *held_out, seed=12)
    config = replace(CONFIG, epochs=4, batch_size=50, learning_rate=3e-3)
    found = []
    for nondigits in (None, others):
        model = fresh(CNNConfig(channels=(8, 16), pool_size=2, pool_stride=2))
        *_, last = fit(model, digits, digits.take(torch.arange(100)), config, nondigits=nondigits)
        assert last.train_accuracy > 0.85
        found.append(auroc(*(digit_score(logits_of(model, images)) for images in (held_out[0], unseen))))
    assert found[1] > 0.9
    assert found[1] > found[0] + 0.05


# The mean of the weights.


def test_the_model_holds_the_mean_of_what_each_step_made():
    decay, count = 0.3, 9  # 7 steps an epoch
    states = [trained(replace(CONFIG, epochs=None, steps=step), MLP) for step in range(1, count + 1)]
    found = trained(replace(CONFIG, epochs=None, steps=count, weight_average=decay), MLP)
    for name, tensor in found.items():
        if not tensor.is_floating_point():
            continue
        values = [state[name].double().numpy() for state in states]
        mean = values[0]
        for step, value in enumerate(values[1:], start=2):
            kept = min(decay, (step - 1) / (step + 8))
            mean = kept * mean + (1 - kept) * value
        np.testing.assert_allclose(tensor.numpy(), mean, rtol=1e-4, atol=1e-6, err_msg=name)
    assert not np.allclose(found["head.output.weight"], states[-1]["head.output.weight"], atol=1e-4)
    assert {"head.norm1.running_mean", "head.norm1.running_var"} <= found.keys()


def test_an_average_of_no_memory_is_the_network_itself():
    plain, averaged = trained(CONFIG, MLP), trained(replace(CONFIG, weight_average=0.0), MLP)
    assert same(*({name: t for name, t in s.items() if t.is_floating_point()} for s in (plain, averaged)))


def test_what_is_trained_is_not_touched_by_its_mean():
    model, losses = fresh(MLP), []
    for changes in ({}, {"weight_average": 0.99}):
        results = fit(copy.deepcopy(model), noise(), noise(20, 1), replace(CONFIG, **changes))
        losses.append([result.train_loss for result in epochs_of(results)])
    assert losses[0] == losses[1]


def test_the_learning_rate_follows_the_schedule():
    config = TrainConfig(epochs=3, batch_size=8, schedule="one-cycle", warmup=0.3)
    epochs = epochs_of(fit(fresh(LINEAR), noise(), noise(20, 1), config))
    assert [result.learning_rate for result in epochs] == [learning_rate(config, step, 7) for step in (7, 14, 21)]


# Best and stop, from evaluations made up.


def scripted(monkeypatch, scores, config):
    """Train on noise, with validations of these (accuracy in per cent, loss); return the epochs."""
    script = iter(scores)

    def made_up(*_):  # in place of what is counted of the logits
        correct, loss = next(script)
        first = (correct, 100 - correct, *[0] * 8)
        return Metrics(loss=loss, confusion=(first, *[(0,) * 10] * 9))

    monkeypatch.setattr(engine, "count", made_up)
    return epochs_of(fit(fresh(LINEAR), noise(), noise(20, 1), replace(CONFIG, epochs=len(scores), **config)))


def test_the_best_epoch_is_the_last_within_a_standard_error_of_the_most_accurate(monkeypatch):
    # Of 100 images: 5.0 at 50 per cent, 4.9 at 60, 3.0 at 90 and none at 100, whatever the losses are.
    kept = {(50, 1.0): True, (46, 9.0): True, (44, 0.1): False, (60, 2.0): True, (56, 3.0): True, (54, 0.2): False}
    kept |= {(90, 2.0): True, (88, 1.0): True, (86, 0.3): False, (100, 2.0): True, (99, 0.1): False, (100, 3.0): True}
    assert [e.best for e in scripted(monkeypatch, list(kept), {})] == list(kept.values())


@pytest.mark.parametrize(("losses", "patience", "last"), [
    ([1.0, 0.9, 0.8, 0.7], 1, 4), ([1.0, 1.0, 0.5, 0.4], 1, 2), ([1.0, 1.1, 0.9, 1.0, 0.95, 0.5], 2, 5),
    ([1.0, 1.1, 1.2, 0.9], 3, 4), ([1.0, 1.1, 1.2, 1.3, 0.1], 3, 4),
])  # fmt: skip
def test_patience_waits_for_a_lower_loss(monkeypatch, losses, patience, last):
    epochs = scripted(monkeypatch, [(50, loss) for loss in losses], {"patience": patience})
    assert len(epochs) == last
    assert [e.stop for e in epochs[:-1]] == [None] * (last - 1)
    assert epochs[-1].stop == ("patience" if last < len(losses) else "epochs")


def test_training_stops_at_the_accuracy_asked_for(monkeypatch):
    epochs = scripted(monkeypatch, [(50, 1.0), (89, 1.0), (90, 1.0), (99, 1.0)], {"until_accuracy": 0.9})
    assert [e.stop for e in epochs] == [None, None, "until-accuracy"]


class Clock(SimpleNamespace):
    """A clock that moves by `tick` seconds whenever it is read."""

    def __init__(self, tick):
        super().__init__(now=0.0, tick=tick)

    def monotonic(self):
        self.now += self.tick
        return self.now

    perf_counter = monotonic


def set_clock(monkeypatch, clock):
    for module in (engine, trainer, stopping):
        monkeypatch.setattr(module, "time", clock)


def test_training_stops_within_an_epoch_when_time_is_up(monkeypatch):
    set_clock(monkeypatch, Clock(0.1))
    results = list(fit(fresh(LINEAR), noise(), noise(20, 1), replace(CONFIG, time_budget_s=1.0)))
    (epoch,) = epochs_of(results)
    assert epoch.stop == "time-budget"
    assert 1 <= epoch.step < 7
    assert results[-2].step == epoch.step  # the last step is reported
    assert epoch.train_loss == results[-2].loss
    assert epoch.validation.count == 20


def test_training_takes_at_least_one_step():
    (epoch,) = epochs_of(fit(fresh(LINEAR), noise(), noise(20, 1), replace(CONFIG, time_budget_s=1e-9)))
    assert (epoch.step, epoch.stop) == (1, "time-budget")


def test_time_to_spare_stops_nothing():
    epochs = epochs_of(fit(fresh(LINEAR), noise(), noise(20, 1), replace(CONFIG, time_budget_s=3600.0)))
    assert [e.stop for e in epochs] == [None, None, "epochs"]


def test_a_coarse_clock_stops_nothing(monkeypatch):
    set_clock(monkeypatch, Clock(0.0))  # Windows' moves every 16 ms, and a small epoch is shorter
    epochs = epochs_of(fit(fresh(LINEAR), noise(), noise(20, 1), CONFIG))
    assert [e.stop for e in epochs] == [None, None, "epochs"]


@pytest.mark.parametrize("batch_size", [8, 50])
def test_a_loss_that_is_no_number_ends_training_in_words(batch_size):
    config = replace(CONFIG, optimizer="sgd", learning_rate=1e38, batch_size=batch_size)
    with pytest.raises(
        DigitnetError, match=r"the loss is (nan|inf) by step \d+, at a learning rate of 1e\+38"
    ) as caught:
        list(fit(fresh(MLPConfig(hidden_sizes=(16,))), noise(), noise(20, 1), config))
    assert "try a lower one" in str(caught.value)


def test_a_network_broken_by_the_last_step_is_not_a_result():
    config = replace(CONFIG, optimizer="sgd", learning_rate=1e38, batch_size=50, epochs=1)
    with pytest.raises(DigitnetError, match="the loss is"):
        list(fit(fresh(MLPConfig(hidden_sizes=(16,))), noise(), noise(20, 1), config))


# The loss of the epoch so far, from a device that nobody waits for.


class OnDevice(torch.Tensor):
    """A tensor that says it is on a GPU."""

    is_cuda = True


class Arrival:
    """An event of a GPU, which has happened once the test says so."""

    def __init__(self):
        self.recorded, self.happened = False, False
        events.append(self)

    def record(self):
        self.recorded = True

    def query(self):
        assert self.recorded
        return self.happened


events = []


def test_a_gauge_tells_what_has_arrived_and_when_it_was_so(monkeypatch):
    events.clear()
    empty_like = torch.empty_like
    monkeypatch.setattr(torch.cuda, "Event", Arrival)
    monkeypatch.setattr(torch, "empty_like", lambda tensor, **_: empty_like(tensor.as_subclass(torch.Tensor)))
    number = torch.tensor(5.0).as_subclass(OnDevice)
    gauge = Gauge(number)
    assert gauge.read(10) == (0.0, 0)  # 5.0 sets out
    number.fill_(7.0)
    assert gauge.read(20) == (0.0, 0)  # still on its way: nothing else sets out
    assert len(events) == 1
    events[-1].happened = True
    number.fill_(9.0)
    assert gauge.read(30) == (5.0, 10)  # as it was at 10; 9.0 sets out
    number.fill_(11.0)
    assert gauge.read(40) == (5.0, 10)
    assert len(events) == 2
    events[-1].happened = True
    assert gauge.read(50) == (9.0, 30)
    assert len(events) == 3


def test_a_gauge_on_the_cpu_tells_what_is():
    number = torch.tensor(5.0)
    gauge = Gauge(number)
    assert gauge.read(10) == (5.0, 10)
    number.fill_(7.0)
    assert gauge.read(20) == (7.0, 20)


class Late(Gauge):
    """A gauge that knows nothing at first and then what was two reports ago."""

    def __init__(self, number):
        super().__init__(number)
        self.known = [(0.0, 0)] * 2

    def read(self, at):
        self.known.append(super().read(at))
        return self.known[-3]


def test_a_loss_that_is_not_known_yet_is_none_and_then_a_mean_of_what_was_counted(monkeypatch):
    def losses():
        results = fit(fresh(LINEAR), noise(), noise(20, 1), replace(CONFIG, epochs=2))
        return [result.loss if isinstance(result, StepResult) else result.train_loss for result in results]

    exact = losses()
    monkeypatch.setattr(trainer, "Gauge", Late)
    first, second = exact[:8], exact[8:]  # 7 steps and the epoch
    assert losses() == [None, None, *first[:5], first[7], None, None, *second[:5], second[7]]


def test_losses_reported_are_finite():
    results = list(fit(fresh(CNN), noise(), noise(20, 1), CONFIG))
    assert all(math.isfinite(r.loss) for r in results if isinstance(r, StepResult))
    assert all(math.isfinite(e.train_loss) and math.isfinite(e.validation.loss) for e in epochs_of(results))
