"""scripts/distil: the loss against autograd and NumPy, means of weights, and a student that comes near its teachers."""

import copy
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from digitnet.checkpoint import Distillation, load_checkpoint, save_checkpoint
from digitnet.cli import app
from digitnet.config import MLPConfig
from digitnet.data.digits import Digits
from digitnet.data.load import load_training
from digitnet.data.strokes import draw_strokes
from digitnet.errors import CheckpointError, UsageError
from digitnet.evaluation import count, logits_of
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
    epochs = [batches(train, rule, epoch) for epoch in (1, 2, 1)]
    whole = Counter(image.numpy().tobytes() for image in train.images)
    drawn = []
    for dealt in epochs:
        assert len(dealt) == -(-400 // 64)
        assert sum(len(batch.images) for batch in dealt) == 450
        assert sum(batch.digits - batch.own for batch in dealt) == 100
        assert Counter(i.numpy().tobytes() for batch in dealt for i in batch.images[: batch.own]) == whole
        drawn.append({image.numpy().tobytes() for batch in dealt for image in batch.images[batch.own :]})
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


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of a few steps each, of preset handwriting's kind."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in ("1", "2"):
        options = ["--nondigits", "100", "--weight-average", "0.9", "--seed", seed, "--output", str(folder)]
        done = CliRunner().invoke(app, ["train", *TRAIN.split(), *options, "--name", f"run{seed}"])
        assert done.exit_code == 0, done.output
    return [str(folder / f"run{seed}") for seed in "12"]


def test_a_rate_at_which_no_number_is_left_is_said_and_nothing_is_written(runs, tmp_path, capsys):
    made = tmp_path / "made.safetensors"
    arguments = [runs[0], "--teacher", runs[1], "--output", str(made), "--epochs", "1", "--learning-rate", "1e30"]
    assert main(arguments) == 1
    assert "try a lower --learning-rate" in capsys.readouterr().err
    assert not made.exists()


def test_a_distilled_network_is_a_checkpoint_that_says_how_it_was_made(runs, tmp_path):
    one, two = runs
    made = tmp_path / "made.safetensors"
    teachers = ["--teacher", two, "--teacher", f"{one},{one}", "--expert", two]
    assert main([one, *teachers, "--output", str(made), "--epochs", "1"]) == 0
    before, after = (load_checkpoint(path) for path in (Path(one) / "best.safetensors", made))
    asked = {"source": one, "teachers": f"{two} {one},{one}", "experts": two, "learning_rate": 6e-4, "seed": 0}
    done = {"epoch": 1, "epochs": 1, "steps": 2, "elapsed_s": after.record.distillation.elapsed_s}  # 400 in 2 batches
    assert after.record.distillation == Distillation(**asked, **done)
    assert (after.record.epoch, after.record.step) == (before.record.epoch, before.record.step)
    assert after.config == before.config
    assert any(not torch.equal(value, before.state[name]) for name, value in after.state.items())
    shown = " ".join(CliRunner().invoke(app, ["info", str(made)]).stdout.split())
    assert f"distilled from {one}, 2 steps in" in shown
    assert f"by the answers of {two} {one},{one}; and, on images of strokes, those of {two}" in shown


def test_experts_are_learnt_from_and_the_same_seed_makes_the_same_network(runs, tmp_path):
    made = [tmp_path / f"{k}.safetensors" for k in range(3)]
    for path, more in zip(made, ((), (), ("--expert", runs[1])), strict=True):
        assert main([runs[0], "--teacher", runs[0], *more, "--output", str(path), "--epochs", "1"]) == 0
    without, again, taught = (load_checkpoint(path).state for path in made)
    assert all(torch.equal(value, again[name]) for name, value in without.items())
    assert any(not torch.equal(value, taught[name]) for name, value in without.items())


def test_the_epoch_with_the_lowest_validation_loss_is_kept(runs, tmp_path, capsys, monkeypatch):
    losses, states = iter((0.3, 0.2, 0.25)), []

    def fake_count(logits, targets, loss_fn):
        return replace(count(logits, targets, loss_fn), loss=next(losses))

    def spy(student, *arguments):
        for done in distil(student, *arguments):
            states.append(copy.deepcopy(student.state_dict()))
            yield done

    monkeypatch.setattr("distil.__main__.count", fake_count)
    monkeypatch.setattr("distil.__main__.distil", spy)
    made = tmp_path / "made.safetensors"
    assert main([runs[0], "--teacher", runs[1], "--output", str(made), "--epochs", "3"]) == 0
    *lines, saved = capsys.readouterr().out.splitlines()[-4:]
    assert saved == f"saved {made}"
    assert [line.endswith("  best") for line in lines] == [True, True, False]
    kept = load_checkpoint(made)
    assert kept.record.validation_loss == pytest.approx(0.2)
    assert kept.record.distillation.epoch == 2
    assert all(torch.equal(value, states[1][name]) for name, value in kept.state.items())


def test_a_damaged_record_of_it_is_refused(runs, tmp_path):
    made = tmp_path / "made.safetensors"
    assert main([runs[0], "--teacher", runs[1], "--output", str(made), "--epochs", "1"]) == 0
    good = load_checkpoint(made)
    damaged = replace(good.record, distillation=replace(good.record.distillation, epochs="many"))
    save_checkpoint(made, good.config, damaged, good.calibration, good.build())
    with pytest.raises(CheckpointError, match="epochs is 'many'"):
        load_checkpoint(made)


def test_a_set_of_shards_is_refused(runs, tmp_path, capsys, monkeypatch):
    train, validation = load_training("strokes", size=400)
    monkeypatch.setattr(Digits, "mapped", True)
    monkeypatch.setattr("distil.__main__.load_training", lambda *_, **__: (train, validation))
    assert main([runs[0], "--teacher", runs[1], "--output", str(tmp_path / "made")]) == 2
    assert "is a set of shards" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--output", "no/folder/x"], "in a folder that is there"),
        (["--output", "."], "is the file to write"),
        (["--output", "x", "--epochs", "0"], "epochs"),
        (["--output", "x", "--learning-rate", "nan"], "learning_rate"),
        (["--output", "x", "--teacher", "none"], "no network 'none'"),
        (["--output", "x", "--teacher", ","], "no network ''"),
        (["--output", "x", "--teacher", "pretrained-mlp,pretrained-cnn"], "of the same layers"),
    ],
)
def test_wrong_usage_is_one_line_before_anything_is_trained(runs, tmp_path, monkeypatch, capsys, options, said):
    monkeypatch.chdir(tmp_path)
    assert main([runs[0], "--teacher", runs[1], *options]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_is_read_is_not_replaced(runs, capsys):
    path = Path(runs[1]) / "best.safetensors"
    before = path.read_bytes()
    assert main([runs[0], "--teacher", runs[1], "--output", str(path)]) == 2
    assert "one of the networks that are read" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_interrupted_it_says_where_the_best_so_far_is(runs, tmp_path, capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("distil.__main__.distil", interrupt)
    assert main([runs[0], "--teacher", runs[1], "--output", str(tmp_path / "made")]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_a_network_that_never_saw_what_is_no_digit_is_refused():
    with pytest.raises(UsageError, match="--nondigits and --weight-average"):
        distillation_rule(build_config(overrides={}).train, 1, 1e-3, 0)


def test_a_network_that_is_not_there_is_one_line(tmp_path, capsys):
    assert main([str(tmp_path / "none"), "--teacher", "pretrained-mlp", "--output", str(tmp_path / "x")]) != 0
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
