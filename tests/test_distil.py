"""scripts/distil: the loss against autograd and NumPy, means of weights, and a student that comes near its teachers."""

import copy
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from digitnet.checkpoint import Distillation, load_checkpoint, save_checkpoint
from digitnet.cli import app
from digitnet.config import MLPConfig
from digitnet.data.digits import Digits
from digitnet.data.strokes import draw_strokes
from digitnet.errors import CheckpointError, UsageError
from digitnet.evaluation import logits_of
from digitnet.models import build_model, to_float
from digitnet.recipes import build_config
from distil.__main__ import distillation_rule, main
from distil.distilling import LOGITS_WEIGHT, Teachers, batches, distil, distillation_loss, mean_network

MLP = MLPConfig(hidden_sizes=(16,), batch_norm=True)
TRAIN = "--model mlp --dataset strokes --train-size 400 --hidden-sizes 16 --steps 4"


def networks(count):
    torch.manual_seed(5)
    return [build_model(MLP).eval() for _ in range(count)]


def test_the_loss_is_least_where_all_logits_are_those_taught():
    taught = torch.randn(8, 10, generator=torch.Generator().manual_seed(1)) * 3
    logits = taught.clone().requires_grad_()
    distillation_loss(logits, taught, 5).backward()
    assert logits.grad.abs().max() < 1e-6
    least = distillation_loss(taught, taught, 5)
    for seed in range(5):
        other = taught + 0.1 * torch.randn(8, 10, generator=torch.Generator().manual_seed(seed))
        assert distillation_loss(other, taught, 5) > least


def test_the_loss_is_what_its_three_parts_are_by_hand():
    random = np.random.default_rng(2)
    logits, taught = random.normal(size=(2, 6, 10)) * 2
    level, wanted = (np.log(np.exp(x).sum(1)) for x in (logits, taught))
    log_probs = logits - level[:, None]
    which = -(np.exp(taught - wanted[:, None]) * log_probs)[:4].sum(1).mean()
    share = 1 / (1 + np.exp(-wanted))
    whether = (np.log1p(np.exp(-level)) * share + np.log1p(np.exp(level)) * (1 - share)).mean()
    expected = which + whether + LOGITS_WEIGHT * ((logits - taught) ** 2).mean()
    assert distillation_loss(torch.tensor(logits), torch.tensor(taught), 4).item() == pytest.approx(expected, rel=1e-12)


def test_a_mean_of_networks_has_the_mean_of_each_weight_and_leaves_them_alone():
    some = networks(3)
    before = copy.deepcopy(some[0].state_dict())
    mean = mean_network(some).state_dict()
    for name, value in mean.items():
        values = np.stack([network.state_dict()[name].numpy() for network in some])
        np.testing.assert_allclose(value.numpy(), values.mean(0), rtol=1e-6, atol=1e-7)
    assert all(torch.equal(value, before[name]) for name, value in some[0].state_dict().items())


def digits_of(count):
    images, targets = draw_strokes(count, seed=1)
    return Digits(name="strokes", images=images, targets=targets, fingerprint="")


def test_experts_are_heard_on_which_digit_the_data_sets_own_images_are_and_on_nothing_else():
    heard, other, expert = networks(3)
    images = to_float(digits_of(12).images)
    with torch.no_grad():
        one, two, three = (network(images) for network in (heard, other, expert))
    without = Teachers(heard=[heard, other]).logits(images, 5, torch.float32)
    torch.testing.assert_close(without, (one + two) / 2)
    taught = Teachers(heard=[heard, other], experts=[expert]).logits(images, 5, torch.float32)
    assert torch.equal(taught[5:], without[5:])
    torch.testing.assert_close(taught[:5].logsumexp(1), without[:5].logsumexp(1))
    torch.testing.assert_close(taught[:5].softmax(1), ((one + two + three) / 3)[:5].softmax(1))


def test_an_epoch_deals_out_each_of_the_data_sets_images_once_and_drawings_that_are_new():
    train = digits_of(300)
    overrides = {"epochs": 2, "batch_size": 64, "extra_strokes": 100, "nondigits": 50, "weight_average": 0.9}
    rule = build_config(kind="mlp", overrides=overrides).train
    steps = -(-400 // 64)
    epochs = [list(batches(train, rule, epoch, steps)) for epoch in (1, 2, 1)]
    whole = Counter(image.numpy().tobytes() for image in train.images)
    drawn = []
    for dealt in epochs:
        assert len(dealt) == steps
        assert sum(len(images) for images, _, _ in dealt) == 450
        assert sum(digits - own for _, own, digits in dealt) == 100
        assert Counter(i.numpy().tobytes() for images, own, _ in dealt for i in images[:own]) == whole
        drawn.append({image.numpy().tobytes() for images, own, _ in dealt for image in images[own:]})
    assert drawn[0] == drawn[2]
    assert len(drawn[0] & drawn[1]) < 5


def test_a_student_comes_near_the_mean_of_its_teachers():
    student, *teachers = networks(3)
    train = digits_of(512)
    overrides = {"epochs": 6, "batch_size": 64, "augment": "none", "weight_average": 0.9, "nondigits": 128}
    rule = build_config(kind="mlp", overrides=overrides).train
    taught = sum(logits_of(teacher, train.images) for teacher in teachers) / 2
    kept = copy.deepcopy([teacher.state_dict() for teacher in teachers])

    def distance():
        return (logits_of(student, train.images) - taught).square().mean().item()

    before = distance()
    done = list(distil(student, Teachers(heard=teachers), train, rule, torch.float32))
    assert [(d.epoch, d.step) for d in done] == [(k, 8 * k) for k in range(1, 7)]
    assert done[-1].loss < done[0].loss
    assert distance() < 0.5 * before
    for teacher, state in zip(teachers, kept, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in teacher.state_dict().items())


def test_a_distilled_network_is_a_checkpoint_that_says_how_it_was_made(tmp_path, capsys):
    for seed in ("1", "2"):
        options = ["--nondigits", "100", "--weight-average", "0.9", "--seed", seed, "--output", str(tmp_path)]
        done = CliRunner().invoke(app, ["train", *TRAIN.split(), *options, "--name", f"run{seed}"])
        assert done.exit_code == 0, done.output
    one, two = (str(tmp_path / f"run{seed}") for seed in "12")
    made = tmp_path / "made.safetensors"
    teachers = ["--teacher", two, "--teacher", f"{one},{one}", "--expert", two]
    arguments = [one, *teachers, "--output", str(made), "--epochs", "2"]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()[-2:]
    assert [line.split()[0] for line in lines] == ["1/2", "2/2"]
    before, after = (load_checkpoint(path) for path in (tmp_path / "run1" / "best.safetensors", made))
    losses = [float(line.split("validation loss ")[1].split(",")[0]) for line in lines]
    chosen = 1 + losses.index(min(losses))
    assert [line.endswith("  best") for line in lines] == [True, chosen == 2]
    assert after.record.validation_loss == pytest.approx(min(losses), abs=1e-4)
    asked = {"source": one, "teachers": f"{two} {one},{one}", "experts": two, "learning_rate": 6e-4, "seed": 0}
    done = {"epoch": chosen, "epochs": 2, "steps": 2 * chosen}  # 400 images in batches of 256
    assert after.record.distillation == Distillation(**asked, **done)
    assert (after.record.epoch, after.record.step) == (before.record.epoch, before.record.step)
    shown = " ".join(CliRunner().invoke(app, ["info", str(made)]).stdout.split())
    assert (
        f"distilled from {one}, {2 * chosen} steps (epoch {chosen} of 2) by the answers of {two} {one},{one}, and on"
        in shown
    )
    assert after.config == before.config
    assert any(not torch.equal(value, before.state[name]) for name, value in after.state.items())
    first = made.read_bytes()
    assert main(arguments) == 0
    assert load_checkpoint(made).state.keys() == after.state.keys()
    assert len(first) == len(made.read_bytes())
    again = load_checkpoint(made)
    assert all(torch.equal(value, again.state[name]) for name, value in after.state.items())
    damaged = replace(again.record, distillation=replace(again.record.distillation, epochs="many"))
    save_checkpoint(made, again.config, damaged, again.calibration, again.build())
    with pytest.raises(CheckpointError, match="epochs is 'many'"):
        load_checkpoint(made)


def test_a_network_that_never_saw_what_is_no_digit_is_refused():
    with pytest.raises(UsageError, match="preset handwriting"):
        distillation_rule(build_config(overrides={}).train, 1, 1e-3, 0)


def test_a_network_that_is_not_there_is_one_line(tmp_path, capsys):
    assert main([str(tmp_path / "none"), "--teacher", "pretrained-mlp", "--output", str(tmp_path / "x")]) != 0
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
