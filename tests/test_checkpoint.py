"""A checkpoint comes back bit for bit; whatever else has its name is refused, and nothing in it is ever run."""

import errno
import json
import os
import pickle
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from digitnet import checkpoint
from digitnet.calibration import Calibration
from digitnet.checkpoint import FORMAT, TrainingRecord, load_checkpoint, save_checkpoint
from digitnet.errors import CheckpointError
from digitnet.models import build_model
from digitnet.recipes import build_config
from digitnet.rejection import Thresholds

RECORD = TrainingRecord(
    dataset='a "set" \\ with\nodd \u2028 letters \U0001f600',
    fingerprint="0123456789abcdef",
    train_size=900,
    validation_size=100,
    split_hash="fedcba9876543210",
    epoch=2,
    step=8,
    validation_loss=0.1 + 0.2,
    validation_accuracy=0.987,
    elapsed_s=1e-9,
    device="cpu",
    precision="fp32",
    digitnet="0.1.0",
    torch="2.6.0",
)
CALIBRATION = Calibration(
    temperature=0.1 + 0.7, thresholds=Thresholds(rates=(0.0, 0.01, 1.0), scores=(-1 / 3, -1 / 3, 9.25))
)
CNN = build_config(kind="cnn", preset="fast", overrides={"channels": (2,), "hidden_sizes": (3,), "dropout": 0.25})
MLP = build_config(kind="mlp", preset="fast", overrides={"hidden_sizes": (2,), "patience": 3})


def make_model(config):
    torch.manual_seed(3)
    model = build_model(config.model)
    for tensor in model.state_dict().values():  # batch normalisation's counts and all
        tensor.copy_(torch.rand(tensor.shape).mul(100))
    model.std.fill_(0.3)
    return model


@pytest.fixture
def path(tmp_path):
    """A good checkpoint."""
    path = tmp_path / "best.safetensors"
    save_checkpoint(path, MLP, RECORD, CALIBRATION, make_model(MLP))
    return path


def rewrite(path, *, change=None, tensors=None):
    """Write a checkpoint anew with its description changed in place, or with other tensors."""
    document = description(path)
    if change:
        change(document)
    save_file(tensors or load_file(path), path, metadata={"digitnet": json.dumps(document)})


def description(path):
    with path.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    return json.loads(header["__metadata__"]["digitnet"])


def refusal(path):
    """Return the one line by which a file is refused; it names the file."""
    with pytest.raises(CheckpointError) as raised:
        load_checkpoint(path)
    assert str(path) in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("config", [CNN, MLP], ids=["cnn", "mlp"])
def test_everything_comes_back_bit_for_bit(tmp_path, config):
    model, path = make_model(config), tmp_path / "best.safetensors"
    save_checkpoint(path, config, RECORD, CALIBRATION, model)
    checkpoint = load_checkpoint(path)
    assert checkpoint.config == config
    assert checkpoint.record == RECORD
    assert checkpoint.calibration == CALIBRATION
    rebuilt = checkpoint.build()
    assert not rebuilt.training
    assert rebuilt.state_dict().keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(rebuilt.state_dict()[name], tensor), name
        assert rebuilt.state_dict()[name].dtype == tensor.dtype, name
    images = torch.rand(5, 1, 28, 28)
    assert torch.equal(rebuilt(images), model.eval()(images))


def test_no_length_of_header_is_taken_for_a_pickle(tmp_path):
    model, path, starts = make_model(MLP), tmp_path / "best.safetensors", set()
    for length in range(260):
        save_checkpoint(path, MLP, replace(RECORD, dataset="x" * length), CALIBRATION, model)
        assert load_checkpoint(path).record.dataset == "x" * length
        starts.add(path.read_bytes()[0])
    assert 0x80 in starts  # a pickle's first byte


def test_other_programs_can_read_what_it_is(path):
    document = description(path)
    assert document["format"] == FORMAT
    assert document["calibration"] == {
        "temperature": CALIBRATION.temperature,
        "thresholds": {"rates": [0.0, 0.01, 1.0], "scores": [-1 / 3, -1 / 3, 9.25]},
    }
    assert document["record"]["dataset"] == RECORD.dataset
    assert document["config"]["model"] == {
        "kind": "mlp", "hidden_sizes": [2], "activation": "relu", "dropout": 0.0, "batch_norm": False,
    }  # fmt: skip


class Trap:
    """What leaves a mark when it is unpickled."""

    def __reduce__(self):
        return Path.touch, (Path("sprung"),)


@pytest.mark.parametrize("name", ["best.safetensors", "model.pt"])
@pytest.mark.parametrize("write", [torch.save, lambda trap, path: path.write_bytes(pickle.dumps(trap))])
def test_a_pickle_is_refused_unopened(tmp_path, name, write):
    write(Trap(), tmp_path / name)
    pickle.loads(pickle.dumps(Trap()))
    Path("sprung").unlink()  # the trap works
    assert "is a pickle, which can run code when it is opened" in refusal(tmp_path / name)
    assert not Path("sprung").exists()


def test_an_old_pickle_is_refused_too(tmp_path):
    (tmp_path / "model.pt").write_bytes(pickle.dumps(Trap(), protocol=0))
    assert "is not a safetensors file" in refusal(tmp_path / "model.pt")
    assert not Path("sprung").exists()


def test_a_safetensors_file_of_another_program_is_refused(path):
    for metadata in (None, {"format": "pt"}):
        save_file(load_file(path), path, metadata=metadata)
        assert "none that digitnet train wrote" in refusal(path)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"<!DOCTYPE html><html>", bytes(100), b"\xff" * 100, b"\x89PNG\r\n\x1a\n"]
)
def test_what_is_no_safetensors_file_is_refused(tmp_path, content):
    (tmp_path / "best.safetensors").write_bytes(content)
    assert "is not a safetensors file" in refusal(tmp_path / "best.safetensors")


def test_a_file_cut_short_anywhere_is_refused(path):
    whole = path.read_bytes()
    for size in [*range(0, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:size])
        refusal(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    assert "No such file" in refusal(tmp_path / "gone.safetensors")
    assert "not an ordinary file" in refusal(tmp_path)


@pytest.mark.timeout(10)
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "best.safetensors")
    refusal(tmp_path / "best.safetensors")


def test_tensors_that_do_not_fit_the_network_are_named(path):
    tensors = load_file(path)
    weight = tensors["head.dense1.weight"]
    rewrite(path, tensors=tensors | {"head.dense1.weight": weight[:, :-1].contiguous()})
    assert "head.dense1.weight does not fit the network described: expected (2, 784), found (2, 783)" in refusal(path)
    rewrite(path, tensors=tensors | {"extra": weight.clone()})
    assert "extra does not fit the network described: expected nothing, found (2, 784)" in refusal(path)
    del tensors["mean"]
    rewrite(path, tensors=tensors)
    assert "mean does not fit the network described: expected (), found nothing" in refusal(path)


def test_a_newer_format_is_said_to_be_newer(path):
    rewrite(path, change=lambda document: document.update(format=FORMAT + 1))
    said = f"has format {FORMAT + 1}, and this digitnet reads 3 to {FORMAT}; a newer digitnet wrote it"
    assert said in refusal(path)


@pytest.mark.parametrize("older", [1, 2])
def test_an_older_format_is_refused_for_its_weights_stand_in_another_order_or_calibration_is_missing(path, older):
    rewrite(path, change=lambda document: (document.update(format=older), document.pop("calibration")))
    line = refusal(path)
    advice = "train the network again, or use --checkpoint pretrained-cnn"
    assert line.endswith(f"has format {older}, and this digitnet reads 3 to {FORMAT}; {advice}")
    assert "damaged" not in line


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda d: d.clear(), id="empty"),
        pytest.param(lambda d: d.update(format="1"), id="format is text"),
        pytest.param(lambda d: d.update(format=True), id="format is true"),
        pytest.param(lambda d: d.update(format=3.0), id="format is a fraction"),
        pytest.param(lambda d: d["record"].update(epoch=-1), id="epoch is negative"),
        pytest.param(lambda d: d["record"].update(train_size=2**63), id="too many images to count"),
        pytest.param(lambda d: d["record"].update(elapsed_s=float("inf")), id="without end"),
        pytest.param(lambda d: d["record"].update(validation_accuracy=float("nan")), id="accuracy is no number"),
        pytest.param(lambda d: d["record"].update(validation_accuracy=1.01), id="accuracy is above all"),
        pytest.param(lambda d: d["record"].update(dataset="x" * 5_001), id="a name of thousands of letters"),
        pytest.param(lambda d: d.update(config=[]), id="config is a list"),
        pytest.param(lambda d: d.update(record=None), id="record is null"),
        pytest.param(lambda d: d["record"].pop("dataset"), id="no data set"),
        pytest.param(lambda d: d["record"].update(epoch="2"), id="epoch is text"),
        pytest.param(lambda d: d.pop("calibration"), id="no calibration"),
        pytest.param(lambda d: d.update(calibration=None), id="calibration is null"),
        pytest.param(lambda d: d["calibration"].pop("temperature"), id="no temperature"),
        pytest.param(lambda d: d["calibration"].update(temperature="1"), id="temperature is text"),
        pytest.param(lambda d: d["calibration"].update(temperature=1), id="temperature is a whole number"),
        pytest.param(lambda d: d["calibration"].update(temperature=0.0), id="temperature is 0"),
        pytest.param(lambda d: d["calibration"].update(temperature=-1.0), id="temperature is negative"),
        pytest.param(lambda d: d["calibration"].update(temperature=float("nan")), id="temperature is no number"),
        pytest.param(lambda d: d["calibration"].update(temperature=float("inf")), id="temperature is infinite"),
        pytest.param(lambda d: d["calibration"].update(thresholds=[]), id="thresholds are a list"),
        pytest.param(lambda d: d["calibration"]["thresholds"].update(rates=[]), id="no rates"),
        pytest.param(lambda d: d["calibration"]["thresholds"].update(rates=[0.0, 1.0]), id="too few rates"),
        pytest.param(lambda d: d["calibration"]["thresholds"].update(rates=[0.0, 0.0, 1.0]), id="rates do not rise"),
        pytest.param(lambda d: d["calibration"]["thresholds"].update(rates=[0.0, True, 1.0]), id="a rate is true"),
        pytest.param(lambda d: d["calibration"]["thresholds"].update(rates=3), id="rates are a number"),
        pytest.param(lambda d: d["calibration"]["thresholds"].update(scores=[1.0, 0.0, 2.0]), id="scores fall"),
        pytest.param(lambda d: d["calibration"]["thresholds"].update(scores="abc"), id="scores are text"),
        pytest.param(lambda d: d["calibration"]["thresholds"].update(scores=[1.0, None, 2.0]), id="a score is null"),
        pytest.param(lambda d: d["calibration"]["thresholds"].update(scores=[-float("inf"), 0.0, 1.0]), id="infinite"),
        pytest.param(lambda d: d["config"].pop("model"), id="no model"),
        pytest.param(lambda d: d["config"]["model"].update(kind="rnn"), id="unknown kind"),
        pytest.param(lambda d: d["config"]["model"].update(hidden_sizes=[0]), id="a layer of none"),
        pytest.param(lambda d: d["config"]["model"].update(hidden_sizes=[10**30]), id="a layer too large to count"),
        pytest.param(lambda d: d["config"]["model"].update(surprise=1), id="unknown setting"),
        pytest.param(lambda d: d["config"]["train"].update(loss="unheard-of"), id="unknown loss"),
    ],
)
def test_a_damaged_description_is_refused(path, change):
    rewrite(path, change=change)
    refusal(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": []}', "[" * 5000])
def test_a_description_that_is_no_document_is_refused(path, text):
    save_file(load_file(path), path, metadata={"digitnet": text})
    assert "its description is damaged" in refusal(path)


def reheader(path, change):
    """Write a checkpoint anew with the text of its header changed."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = change(data[8 : 8 + size].decode()).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + size :])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda h: h.replace('"mean":', '"mean":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"mean":'),
                     "header is damaged: mean is there twice", id="tensor"),
        pytest.param(lambda h: h.replace(r'{\"format\":', r'{\"format\": 3, \"format\":'),
                     "description is damaged: format is there twice", id="setting"),
        pytest.param(lambda _: "[" * 50_000, "header is damaged", id="deep"),
        pytest.param(lambda h: h + "}", "header is damaged", id="no JSON"),
    ],
)  # fmt: skip
def test_a_header_that_is_ambiguous_is_refused(path, change, message):
    reheader(path, change)
    assert message in refusal(path) or "is not a safetensors file" in refusal(path)


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool, torch.float8_e4m3fn]
)
def test_a_tensor_of_another_type_is_refused(path, dtype):
    tensors = load_file(path)
    rewrite(path, tensors=tensors | {"head.output.bias": tensors["head.output.bias"].to(dtype)})
    assert "head.output.bias is of type" in refusal(path)
    assert "and should be F32" in refusal(path)


@pytest.mark.parametrize(("name", "value"), [("std", 0.0), ("std", -1.0), ("base.block1.norm1.running_var", -0.01)])
def test_a_spread_that_is_none_is_refused(tmp_path, name, value):
    model, path = make_model(CNN), tmp_path / "best.safetensors"
    model.state_dict()[name].fill_(value)
    save_checkpoint(path, CNN, RECORD, CALIBRATION, model)
    assert f"{name} is {value:g}, which no spread of numbers is" in refusal(path)


def test_a_message_is_a_line_however_long_what_is_wrong(path):
    rewrite(path, change=lambda document: document["record"].update(epoch="x" * 500_000))
    assert len(refusal(path)) < 500 + len(str(path))


@settings(max_examples=150)
@given(st.data())
def test_whatever_byte_is_damaged_the_file_is_read_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    save_checkpoint(path, MLP, RECORD, CALIBRATION, make_model(MLP))
    content = bytearray(path.read_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    content[data.draw(st.integers(0, header - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with suppress(CheckpointError):  # anything else that is raised fails the test
        load_checkpoint(path)


@pytest.mark.parametrize("where", ["os.fsync", "pathlib.Path.replace"])
def test_a_full_disk_leaves_the_old_checkpoint(path, monkeypatch, where):
    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = path.read_bytes()
    monkeypatch.setattr(where, fail)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(path, CNN, replace(RECORD, epoch=9), CALIBRATION, make_model(CNN))
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    model, path = make_model(MLP), tmp_path / "best.safetensors"
    with torch.no_grad():
        model.head.output.bias[3] = float("nan")
    save_checkpoint(path, MLP, RECORD, CALIBRATION, model)
    assert "head.output.bias holds numbers that are not finite" in refusal(path)


@pytest.mark.parametrize("other", [MLP, CNN], ids=["of the same shape", "of another shape"])
def test_a_checkpoint_that_is_replaced_while_it_is_read_is_of_one_piece(path, monkeypatch, other):
    opened = []

    def replace_it(name, framework):
        stream = safe_open(name, framework)
        if not opened:
            model = make_model(other)
            model.load_state_dict({key: torch.full_like(value, 9) for key, value in model.state_dict().items()})
            save_checkpoint(path, other, replace(RECORD, step=9), CALIBRATION, model)
        opened.append(name)
        return stream

    monkeypatch.setattr(checkpoint, "safe_open", replace_it)
    found = load_checkpoint(path)
    assert found.record.step == 9
    assert found.config == other
    assert all(bool((tensor == 9).all()) for tensor in found.state.values())
    assert len(opened) == 2
