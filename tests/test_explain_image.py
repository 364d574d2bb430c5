"""digitnet explain image, from the command line, with networks of every form: files, text, JSON, and what cannot be."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import save_png
from explained import CNNS, CONFIGS, MLPS, network
from PIL import Image
from typer.testing import CliRunner

from digitnet.calibration import Calibration
from digitnet.checkpoint import TrainingRecord, save_checkpoint
from digitnet.cli import app
from digitnet.config import RunConfig, TrainConfig
from digitnet.explain import trace as tracing
from digitnet.explain.image import references
from digitnet.rejection import Thresholds

OF_ALL = ["representations.png", "probe.png", "why.png", "neighbours.png", "smallest-change.png"]
OF_CNNS = [
    "picture.png",
    "kernels.png",
    "convolution.gif",
    "one-step.png",
    "padding-and-stride.png",
    "detect-and-condense.png",
    *OF_ALL,
]
OF_MLPS = ["picture.png", "units.png", *OF_ALL]
RECORD = TrainingRecord(
    dataset="strokes",
    fingerprint="0" * 16,
    train_size=900,
    validation_size=100,
    split_hash="0" * 16,
    epoch=1,
    step=1,
    validation_loss=1.0,
    validation_accuracy=0.5,
    elapsed_s=1.0,
    device="cpu",
    precision="fp32",
    digitnet="0",
    torch="0",
)


@pytest.fixture(autouse=True)
def few_references(monkeypatch):
    monkeypatch.setattr(references, "FIT_SIZE", 60)
    monkeypatch.setattr(references, "MEASURE_SIZE", 30)


def explain(*arguments):
    return CliRunner().invoke(app, ["explain", "image", *map(str, arguments)])


def save_network(path, name, record=RECORD):
    config = RunConfig(model=CONFIGS[name], train=TrainConfig(dataset=record.dataset, epochs=1))
    thresholds = Thresholds(rates=(0.0, 1.0), scores=(-100.0, 100.0))
    save_checkpoint(path, config, record, Calibration(temperature=1.5, thresholds=thresholds), network(name))
    return path


@pytest.mark.parametrize("name", CONFIGS)
def test_each_network_is_drawn_in_files_that_can_be_read(name, tmp_path, digit_files):
    checkpoint = save_network(tmp_path / "net.safetensors", name)
    done = explain(digit_files[0], "--checkpoint", checkpoint, "--output", tmp_path / "made" / "here")
    assert done.exit_code == 0, done.output
    files = sorted((tmp_path / "made" / "here").iterdir())
    expected = OF_CNNS if name in CNNS else OF_MLPS
    assert [path.name for path in files] == [f"{i:02}-{stem}" for i, stem in enumerate(expected, start=1)]
    for path in files:
        with Image.open(path) as picture:
            assert picture.width == 1200
            assert 300 < picture.height < 2_000
    assert f"{len(files)} files" in done.stdout
    assert max(map(len, done.stdout.replace(str(tmp_path), "").replace(str(digit_files[0]), "").splitlines())) <= 80


@pytest.mark.parametrize("name", CONFIGS)
def test_zeros_are_those_of_a_forward_pass_and_not_of_averaged_maps(name, tmp_path, digit_files, monkeypatch):
    monkeypatch.setattr(tracing, "MAX_FEATURES", 20)
    checkpoint = save_network(tmp_path / "net.safetensors", name)
    lines = explain(digit_files[1], "--checkpoint", checkpoint).stdout.splitlines()
    shown = {row[0]: row[2] for line in lines if len(row := line.split()) > 3 and row[2][-1] == row[3][-1] == "%"}
    model, pixels = network(name), torch.from_numpy(np.asarray(Image.open(digit_files[1])).copy())[None, None] / 255
    zeros = {"pixels": (pixels == 0).float().mean().item()}
    for part, module in model.named_modules():
        module.register_forward_hook(lambda *a, part=part: zeros.update({part: (a[2] == 0).float().mean().item()}))
    model(pixels)
    assert {"pixels", "head.output"} <= shown.keys()
    assert shown == {part: f"{zeros[part]:.0%}" for part in shown}


@pytest.mark.parametrize("name", CONFIGS)
def test_json_agrees_with_a_forward_pass(name, tmp_path, digit_files):
    checkpoint = save_network(tmp_path / "net.safetensors", name)
    done = explain(digit_files[1], "--checkpoint", checkpoint, "--json")
    document = json.loads(done.stdout)
    pixels = np.asarray(Image.open(digit_files[1]))
    assert np.array_equal(document["pixels"], pixels)  # the file has MNIST's form
    with torch.no_grad():
        logits = network(name)(torch.from_numpy(pixels.copy())[None, None] / 255)[0]
    assert document["logits"] == pytest.approx(logits.tolist(), abs=1e-5)
    assert document["probs"] == pytest.approx((logits / 1.5).softmax(0).tolist(), abs=1e-5)
    assert document["digit"] == int(logits.argmax())
    lead = document["why"]["lead"]
    first, second = logits.sort(descending=True).values[:2]
    assert lead["start"] + lead["rise"] == pytest.approx((first - second).item(), abs=1e-4)
    assert np.sum(lead["shares"]) == pytest.approx(lead["rise"] - lead["residual"], abs=1e-4)
    assert document["references"] == {"name": "strokes", "fit": 60, "measure": 30}
    assert [probe["name"] for probe in document["probes"]][:: len(document["probes"]) - 1] == ["pixels", "head.output"]
    assert (document["kernel"] is None) == (name in MLPS)
    assert document["figures"] == []


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "1", "I;16", "CMYK"])
def test_pictures_of_every_mode_are_drawn(mode, tmp_path, digit_files):
    checkpoint = save_network(tmp_path / "net.safetensors", "mlp, no hidden layer")
    large = Image.open(digit_files[0]).resize((90, 90))
    picture = Image.fromarray(np.asarray(large).astype(np.uint16) * 257) if mode == "I;16" else large.convert(mode)
    picture.save(path := tmp_path / ("picture.tif" if mode == "CMYK" else "picture.png"))
    done = explain(path, "--checkpoint", checkpoint, "--output", tmp_path / "out")
    assert done.exit_code == 0, done.output
    shown = np.asarray(Image.open(tmp_path / "out" / "01-picture.png").convert("L")).astype(int)[60:400]
    assert np.abs(shown[:, 60:300] - 128).mean() > 60  # ink and paper, not one grey


def test_a_picture_whose_name_would_be_a_formula_is_drawn(tmp_path, digit_files):
    checkpoint = save_network(tmp_path / "net.safetensors", "mlp, no hidden layer")
    (path := tmp_path / r"$\fr{$.png").write_bytes(digit_files[0].read_bytes())
    done = explain(path, "--checkpoint", checkpoint, "--output", tmp_path / "out")
    assert done.exit_code == 0, done.output


def test_layer_and_kernel_are_those_that_were_asked_for(tmp_path, digit_files):
    checkpoint = save_network(tmp_path / "net.safetensors", "plain")
    done = explain(digit_files[0], "--checkpoint", checkpoint, "--layer", "block2", "--kernel", 5, "--json")
    kernel = json.loads(done.stdout)["kernel"]
    assert (kernel["layer"], kernel["index"]) == ("base.block2.conv1", 5)
    assert np.allclose(kernel["weights"], network("plain").base.block2.conv1.weight[5].detach())
    assert [size["size"] for size in kernel["sizes"]] == [[14, 14], [7, 7], [12, 12], [6, 6]]
    assert np.shape(kernel["map"]) == (14, 14)


@pytest.mark.parametrize("option", [["--layer", "block1"], ["--kernel", "0"]])
def test_kernels_of_an_mlp_are_refused_in_a_line(option, tmp_path, digit_files):
    checkpoint = save_network(tmp_path / "net.safetensors", "mlp")
    done = explain(digit_files[0], "--checkpoint", checkpoint, "--output", tmp_path / "out", *option)
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1].startswith(
        "error: --layer and --kernel choose a convolution, and this network is"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (["--layer", "block9"], "--layer block9: no such convolution; this network has block1.conv1, block2.conv1"),
        (["--kernel", "4"], "--kernel 4: base.block1.conv1 has 4 kernels, which are counted from 0 to 3"),
        (["--kernel", "-1"], "--kernel -1: base.block1.conv1 has 4 kernels, which are counted from 0 to 3"),
    ],
)
def test_what_is_not_there_is_said_in_a_line(option, said, tmp_path, digit_files):
    checkpoint = save_network(tmp_path / "net.safetensors", "plain")
    done = explain(digit_files[0], "--checkpoint", checkpoint, *option)
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1] == f"error: {said}"


def test_blank_noisy_and_unreadable_pictures_are_said_in_a_line(tmp_path):
    checkpoint = save_network(tmp_path / "net.safetensors", "mlp")
    blank = save_png(tmp_path / "blank.png", np.full((40, 40), 255, np.uint8))
    done = explain(blank, "--checkpoint", checkpoint)
    assert done.exit_code == 3
    assert "blank: no ink stands out from the paper, so there is nothing to explain" in done.stderr
    noise = np.random.default_rng(0).integers(0, 256, (200, 200), dtype=np.uint8)
    done = explain(save_png(tmp_path / "noise.png", noise), "--checkpoint", checkpoint)
    assert done.exit_code == 3
    assert done.stderr.endswith("noise: nothing is written in it, so there is nothing to explain\n")
    done = explain(tmp_path / "missing.png", "--checkpoint", checkpoint)
    assert (done.exit_code, done.stdout) == (3, "")
    assert "missing.png" in done.stderr


def test_a_picture_that_is_turned_away_is_explained_and_it_is_said(tmp_path):
    checkpoint = save_network(tmp_path / "net.safetensors", "mlp")
    several = np.full((60, 160), 255, np.uint8)
    several[10:50, 20:26] = several[10:50, 70:76] = several[10:50, 130:136] = 0
    done = explain(save_png(tmp_path / "several.png", several), "--checkpoint", checkpoint)
    assert done.exit_code == 0
    assert "predict turns this picture away (several digits)" in done.stderr


def test_ascii_is_all_that_is_printed_where_it_is_asked_for(tmp_path, digit_files):
    checkpoint = save_network(tmp_path / "net.safetensors", "plain")
    assert explain(digit_files[0], "--checkpoint", checkpoint, "--ascii").stdout.isascii()
    assert not explain(digit_files[0], "--checkpoint", checkpoint).stdout.isascii()


@pytest.mark.parametrize("name", ["plain", "kernel 7, stride 2, no pooling", "mlp"])
@pytest.mark.parametrize("columns", [40, 60])
def test_a_narrow_terminal_shows_every_number_whole(monkeypatch, name, columns, tmp_path, digit_files):
    def numbers(text):
        return set(re.findall(r"[-+]?\d+\.\d+", text))

    monkeypatch.chdir(digit_files[0].parent)
    arguments = digit_files[0].name, "--checkpoint", save_network(tmp_path / "net.safetensors", name)
    wide = explain(*arguments).stdout
    monkeypatch.setenv("COLUMNS", str(columns))
    narrow = explain(*arguments).stdout
    assert numbers(narrow) == numbers(wide)
    assert max(map(len, narrow.splitlines())) <= columns


def test_what_is_added_to_the_products_is_their_bias(tmp_path, digit_files):
    checkpoint = save_network(tmp_path / "net.safetensors", "average pooling, valid, head, gelu, biases")
    text = explain(digit_files[0], "--checkpoint", checkpoint).stdout
    products, bias, total = map(
        float, re.search(r"products sum to (\S+), and with the bias (\S+) to (\S+):", text).groups()
    )
    assert products + bias == pytest.approx(total, abs=0.0016)
    made = json.loads(explain(digit_files[0], "--checkpoint", checkpoint, "--json").stdout)["kernel"]
    assert total == pytest.approx(max(map(max, made["map"])), abs=0.0006)
    assert bias == pytest.approx(made["bias"], abs=0.0006)


@pytest.mark.parametrize("dataset", ["mnist", "a folder that is gone"])
def test_strokes_stand_in_for_digits_that_are_not_there_and_it_is_said(dataset, tmp_path, digit_files):
    checkpoint = save_network(tmp_path / "net.safetensors", "mlp", replace(RECORD, dataset=dataset))
    done = explain(digit_files[0], "--checkpoint", checkpoint)
    assert done.exit_code == 0
    assert "Comparing with strokes instead" in done.stderr
    assert "fitted on 60 training digits of strokes, measured on 30 others" in done.stdout


def test_a_data_dir_that_is_wrong_is_no_reason_for_strokes(tmp_path, digit_files):
    checkpoint = save_network(tmp_path / "net.safetensors", "mlp", replace(RECORD, dataset="mnist"))
    done = explain(digit_files[0], "--checkpoint", checkpoint, "--data-dir", tmp_path / "missing")
    assert done.exit_code == 1
    assert "there is no such folder to read MNIST from" in done.stderr


def test_of_mnist_no_test_image_is_read(mnist_dir, monkeypatch, tmp_path, digit_files):
    from digitnet.data import load

    parts, real = [], load.load_mnist
    monkeypatch.setattr(load, "load_mnist", lambda part, folder: (parts.append(part), real(part, folder))[1])
    checkpoint = save_network(tmp_path / "net.safetensors", "mlp", replace(RECORD, dataset="mnist", train_size=55_000))
    done = explain(digit_files[0], "--checkpoint", checkpoint, "--data-dir", mnist_dir, "--json")
    assert json.loads(done.stdout)["references"] == {"name": "mnist", "fit": 60, "measure": 30}
    assert parts == ["train"]
