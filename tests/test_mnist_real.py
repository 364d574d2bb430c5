"""The whole path on the real MNIST, where it is present: train, evaluate, and its own images as pictures."""

import json

import numpy as np
import pytest
import torch
from conftest import save_png
from typer.testing import CliRunner

from digitnet.cli import app
from digitnet.data.mnist import load_mnist
from digitnet.pictures import read_digit


@pytest.fixture
def real(mnist_dir, tmp_path_factory, monkeypatch):
    """Where MNIST is, with one decoded copy of it for all the tests here."""
    monkeypatch.setenv("DIGITNET_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "real-mnist"))
    return mnist_dir


def invoke(*arguments):
    result = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    return result


def test_a_small_cnn_learns_it_in_one_epoch(real):
    options = ["--preset", "fast", "--model", "cnn", "--epochs", 1, "--batch-size", 64, "--train-size", 10_000]
    trained = json.loads(invoke("train", *options, "--data-dir", real, "--json").stdout)
    assert trained["record"]["dataset"] == "mnist"
    assert trained["record"]["train_size"] == 10_000
    assert trained["record"]["validation_size"] == 5_000
    result = invoke("eval", "--data-dir", real, "--min-accuracy", "95%", "--json")
    report = json.loads(result.stdout)
    assert (report["dataset"], report["split"], report["count"]) == ("mnist", "test", 10_000)
    assert report["accuracy"] >= 0.95
    assert report["per_digit"][1]["support"] == 1_135
    assert "checkpoints/cnn-mnist-1 (trained on mnist)" in result.stderr


def test_its_images_come_back_bit_for_bit_as_pictures(real, tmp_path):
    images = load_mnist("train", real).images[:, 0].numpy()
    for place in torch.randperm(60_000, generator=torch.Generator().manual_seed(0))[:300].tolist():
        path = save_png(tmp_path / f"{place}.png", images[place])
        assert np.array_equal(read_digit(path), images[place]), place


def test_the_networks_that_ship_read_it(real):
    for name, least in (("pretrained-cnn", "97.5%"), ("pretrained-mlp", "94%")):
        invoke("eval", "--checkpoint", name, "--dataset", "mnist", "--data-dir", real, "--min-accuracy", least)
