"""What was learnt when: against the files of the run, scikit-learn and SciPy; and the command that shows it."""

import csv
import json
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from scipy.linalg import orthogonal_procrustes
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestCentroid
from test_cli import fail, invoke

from digitnet.checkpoint import load_checkpoint
from digitnet.config import CNNConfig, MLPConfig, RunConfig, TrainConfig
from digitnet.console.epochs import answer_lines, history_rows, kernel_lines
from digitnet.data.digits import Digits
from digitnet.data.load import load_training
from digitnet.errors import DataError
from digitnet.explain.training.epochs import hidden_of, look_back, nearest_mean, project
from digitnet.explain.training.strips import columns, draw_strips, strongest
from digitnet.runs import find_epochs
from digitnet.training import new_model, train_run

RULE = TrainConfig(dataset="strokes", train_size=450, epochs=2, batch_size=50, device="cpu", precision="fp32")
CNN = CNNConfig(channels=(4, 5), pool_size=2, pool_stride=2, batch_norm=False)


def run(folder, model, **rule):
    """Train a network and look back on it."""
    config = RunConfig(model=model, train=replace(RULE, **rule))
    train, validation = load_training("strokes", size=450)
    for _ in train_run(config, train, validation, folder, keep_epochs=True):
        pass
    files = find_epochs(folder)[1]
    return look_back(new_model(config, train), map(load_checkpoint, files), validation, "cross-entropy"), validation


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "cnn"
    folder.mkdir()
    return folder, *run(folder, CNN)


def test_the_snapshots_are_the_files_of_the_run(made):
    folder, history, validation = made
    rows = list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))
    assert [s.epoch for s in history.snapshots] == [0, 1, 2]
    assert [f"{s.validation_loss:.6f}" for s in history.snapshots[1:]] == [
        f"{float(row['validation_loss']):.6f}" for row in rows
    ]
    assert history.first == "base.block1.conv1"
    for before, now in pairwise(history.snapshots):
        kept = load_file(folder / f"epoch-{now.epoch:03}.safetensors")
        weights = kept["base.block1.conv1.weight"].numpy()[:, 0]
        assert (now.weights.numpy() == weights).all()
        difference = np.linalg.norm(weights - before.weights.numpy()) / np.linalg.norm(before.weights.numpy())
        assert now.moved == pytest.approx(difference, rel=1e-5)
        image = (history.digits.images[3].double() / 255 - kept["mean"]) / kept["std"]
        padded = np.pad(image[0].numpy(), 1)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))
        convolved = np.einsum("ijkl,ckl->cij", windows, weights) + kept["base.block1.conv1.bias"].numpy()[:, None, None]
        pooled = convolved.reshape(4, 14, 2, 14, 2).max((2, 4)).clip(0)
        assert now.maps[3].numpy() == pytest.approx(pooled, abs=1e-4)
    assert (load_file(folder / "last.safetensors")["head.output.weight"] == kept["head.output.weight"]).all()
    assert history.digits.targets.tolist() == list(range(10))
    assert len(validation) == 50


def test_before_training_are_the_weights_that_the_first_step_began_with(tmp_path):
    """At a rate of nearly nought nothing moves: what is kept after an epoch is what training began with."""
    history, _ = run(tmp_path, CNN, optimizer="sgd", learning_rate=1e-30, weight_decay=0.0, epochs=1)
    before, after = history.snapshots
    assert after.moved == 0
    assert after.probs.numpy() == pytest.approx(before.probs.numpy(), abs=1e-6)
    assert after.validation_accuracy == before.validation_accuracy


@pytest.mark.parametrize("size", [(40, 7), (7, 40)])
def test_the_plane_is_that_of_principal_components(size):
    features = torch.randn(size, generator=torch.Generator().manual_seed(1))
    plane, held = project(features)
    reference = PCA(2, svd_solver="full").fit(features.double().numpy())
    expected = reference.transform(features.double().numpy())
    signs = np.sign((plane.numpy() * expected).sum(0))
    assert plane.numpy() * signs == pytest.approx(expected, abs=1e-4)
    assert held == pytest.approx(reference.explained_variance_ratio_.sum(), rel=1e-5)


def test_images_that_are_all_alike_lie_in_one_place():
    plane, held = project(torch.ones(5, 3))
    assert plane.abs().max() < 1e-6
    assert held < 1e-6


def test_each_plane_is_turned_onto_the_next_without_bending_it(made):
    _, history, validation = made
    planes = [s.plane.numpy() for s in history.snapshots]
    for plane, later in pairwise(planes):
        turn, _ = orthogonal_procrustes(plane, later)
        assert turn == pytest.approx(np.eye(2), abs=1e-6)  # there is no better one
    model = load_checkpoint(made[0] / "epoch-001.safetensors").build()
    with torch.no_grad():
        raw, _ = project(hidden_of(model, validation.images))
    assert torch.cdist(raw, raw).numpy() == pytest.approx(
        torch.cdist(*[history.snapshots[1].plane] * 2).numpy(), abs=1e-6
    )


def test_the_nearest_mean_is_scikit_learns():
    generator = torch.Generator().manual_seed(2)
    targets = torch.randint(0, 10, (200,), generator=generator)
    features = torch.randn(200, 6, generator=generator) + torch.nn.functional.one_hot(targets, 10)[:, :6] * 2
    reference = NearestCentroid().fit(features[:100].numpy(), targets[:100].numpy())
    assert nearest_mean(features, targets) == pytest.approx(
        reference.score(features[100:].numpy(), targets[100:].numpy())
    )


def test_the_figures_of_a_cnn_and_of_an_mlp(made, tmp_path):
    _, cnn, _ = made
    drawn = draw_strips(cnn, tmp_path / "cnn", "a run")
    assert [path.name for path in drawn] == ["kernels.png", "maps.png", "representations.png"]
    (tmp_path / "run").mkdir()
    mlp, _ = run(tmp_path / "run", MLPConfig(hidden_sizes=(9,), dropout=0.1), epochs=1)
    assert (mlp.first, mlp.hidden, mlp.snapshots[0].maps) == ("head.dense1", "head.activation1", None)
    assert mlp.snapshots[0].weights.shape == (9, 28, 28)
    others = draw_strips(mlp, tmp_path / "mlp", "a run")
    assert [path.name for path in others] == ["kernels.png", "representations.png"]
    for path in (*drawn, *others):
        with Image.open(path) as picture:
            assert picture.size[0] == 1200


def test_a_network_without_a_hidden_layer_shows_the_pixels(tmp_path):
    history, validation = run(tmp_path, MLPConfig(hidden_sizes=(), activation="identity"), epochs=1)
    assert history.hidden == "the pixels"
    first, second = (s.plane.numpy() for s in history.snapshots)
    assert first == pytest.approx(second, abs=1e-6)
    assert len(first) == len(validation)


@pytest.mark.parametrize("count", [1, 3, 6, 7, 9, 41, 1001])
def test_of_many_epochs_the_first_and_the_last_are_shown(made, count):
    shown = [s.epoch for s in columns([replace(made[1].snapshots[0], epoch=k) for k in range(count)])]
    assert shown == sorted(set(shown))
    assert len(shown) == min(count, 6)
    assert {0, min(1, count - 1), count - 1} <= set(shown)


def test_the_strongest_come_first():
    weights = torch.tensor([1.0, -5.0, 3.0, 0.0])[:, None, None].expand(4, 2, 2)
    assert strongest(weights, 3) == [1, 2, 0]


def test_lines_fit_a_terminal_and_wrong_answers_stand_out(made):
    snapshots = list(made[1].snapshots)
    probs = torch.eye(10)
    probs[4] = torch.eye(10)[7]
    many = tuple(replace(snapshots[0], epoch=k, probs=probs) for k in range(100))
    assert answer_lines(many)[1].split() == ["0", "0", "1", "2", "3", "(7)", "5", "6", "7", "8", "9"]
    assert len(history_rows(many)) == len(answer_lines(many)) - 1 == 100
    wide = replace(made[1], snapshots=tuple(replace(s, weights=torch.randn(4, 7, 7)) for s in many))
    for history in (made[1], wide):
        lines = kernel_lines(history, "ascii")
        assert max(map(len, lines)) <= 78
        assert all(line.isascii() for line in lines)
    assert kernel_lines(wide, "ascii")[0].split()[-1] == "99"


def test_every_digit_has_to_be_there(made):
    _, _, validation = made
    sixes = validation.targets == 6
    others = Digits(name="mine", images=validation.images[~sixes], targets=validation.targets[~sixes], fingerprint="")
    model = new_model(RunConfig(model=CNN, train=RULE), others)
    with pytest.raises(DataError, match="mine has no 6 among its validation images"):
        look_back(model, [], others, "cross-entropy")


OPTIONS = ("--channels", "3", "--pool", "none", "--no-batch-norm", "--dataset", "strokes", "--train-size", "450",
           "--epochs", "2", "--hidden-sizes", "none", "--padding", "same", "--kernel-size", "3", "--augment", "none",
           "--device", "cpu")  # fmt: skip


def test_the_command_shows_a_run_that_kept_its_epochs(monkeypatch):
    invoke("train", *OPTIONS, "--keep-epochs", "--name", "mine")
    names = sorted(path.name for path in Path("checkpoints/mine").glob("epoch-*"))
    assert names == ["epoch-001.safetensors", "epoch-002.safetensors"]
    done = invoke("explain", "training", "mine", "--ascii", "--output", "figures")
    assert done.stdout.isascii()
    assert max(map(len, done.stdout.splitlines())) <= 80
    for width in (40, 60):
        monkeypatch.setenv("COLUMNS", str(width))
        narrow = invoke("explain", "training", "mine", "--ascii").stdout
        assert max(map(len, narrow.splitlines())) <= width
        assert set(re.findall(r"\d+\.\d+%?", narrow)) == set(re.findall(r"\d+\.\d+%?", done.stdout))
    assert sorted(path.name for path in Path("figures").iterdir()) == ["kernels.png", "maps.png", "representations.png"]
    assert done.stderr.splitlines()[0] == "Drew figures/kernels.png."
    document = json.loads(invoke("explain", "training", "checkpoints/mine", "--json").stdout)
    assert [epoch["epoch"] for epoch in document["epochs"]] == [0, 1, 2]
    assert all(sum(row) == pytest.approx(1, abs=1e-5) for row in document["epochs"][2]["probs"])

    assert "pretrained-cnn ships as a network alone, without the run that it comes from" in fail(
        "explain", "training", "pretrained-cnn", code=1
    )
    invoke("train", *OPTIONS, "--name", "plain")
    assert not list(Path("checkpoints/plain").glob("epoch-*"))
    assert fail("explain", "training", "plain", code=1) == (
        "error: checkpoints/plain holds no network of single epochs: train with --keep-epochs, and each epoch's is kept"
    )
    monkeypatch.setitem(__import__("digitnet.data.load", fromlist=["load"]).STROKES_SEEDS, "train", 99)
    assert "strokes is not as it was when it trained this run" in fail("explain", "training", "mine", code=1)
