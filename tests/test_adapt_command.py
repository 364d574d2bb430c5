"""`digitnet adapt`, from pictures to a network that predict uses, or to none: what is kept, said and left behind."""

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import digitnet_command, save_png
from test_cli import fail, invoke, listing

from digitnet import adapting
from digitnet.checkpoint import load_checkpoint, save_checkpoint
from digitnet.cli.adapt import adapt
from digitnet.data.strokes import draw_strokes

FEW = ("--steps", 3)


@pytest.fixture(scope="module")
def hand(tmp_path_factory):
    """Twenty pictures, half of them labelled by a sub-folder and half by name."""
    folder = tmp_path_factory.mktemp("pictures") / "hand"
    images, targets = draw_strokes(20, seed=3)
    for i, (image, target) in enumerate(zip(images, targets.tolist(), strict=True)):
        save_png(folder / (f"{target}/{i}.png" if i < 10 else f"{target}-{i}.png"), image[0])
    return folder


@pytest.fixture
def kept(monkeypatch):
    """Keep whatever comes of it: of a hundred images for validation, the loss of one is more than is allowed."""
    monkeypatch.setattr(adapting, "SLACK", 1)
    monkeypatch.setattr(adapting.AdaptResult, "before", 0)


@pytest.fixture
def forgotten(monkeypatch):
    """Find too much forgotten, whatever comes of it."""
    monkeypatch.setattr(adapting, "SLACK", -1)


@pytest.mark.usefixtures("kept")
def test_a_network_that_is_kept_is_the_one_that_predict_uses(hand, run_folder):
    done = invoke("adapt", hand, "--checkpoint", run_folder, *FEW)
    folder = Path("checkpoints/mlp-hand-1")
    assert listing(folder) == [".lock", "best.safetensors"]
    assert done.stderr.splitlines()[1] == "4 fine-tunes of 3 steps: one to use, the others to judge it by"
    assert [line.split(",")[0] for line in done.stderr.splitlines()[2:]] == [f"part {k}/3" for k in range(1, 4)]
    for row in ("pictures   ", "your hand  ", "learnt     ", "validation ", f"saved      {folder}/best", "next       "):
        assert f"\n{row}" in f"\n{done.stdout}"
    assert "before" in done.stdout
    predicted = invoke("predict", hand / "0")
    assert predicted.stderr == f"Using run {folder} (trained on strokes, adapted to {hand}).\n"
    assert f"to 20 pictures of {hand}" in invoke("info", folder).stdout
    adaptation = json.loads(invoke("info", folder, "--json").stdout)["record"]["adaptation"]
    assert (adaptation["source"], adaptation["steps"]) == (str(run_folder / "best.safetensors"), 3)


@pytest.mark.usefixtures("kept")
def test_a_network_that_was_adapted_is_not_adapted_further(hand, run_folder):
    """Else what it has learnt would be taken for what it can read."""
    first = json.loads(invoke("adapt", hand, "--checkpoint", run_folder, *FEW, "--json").stdout)
    again = invoke("adapt", hand, *FEW, "--json")
    assert f"starting again from {run_folder}" in again.stderr
    document = json.loads(again.stdout)
    assert document["checkpoint"] == "checkpoints/mlp-hand-2/best.safetensors"
    volatile = {"checkpoint", "elapsed_s"}
    assert {k: v for k, v in first.items() if k not in volatile} == {
        k: v for k, v in document.items() if k not in volatile
    }
    states = [load_checkpoint(Path(each["checkpoint"])).state for each in (first, document)]
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


@pytest.mark.usefixtures("kept")
def test_a_network_is_adapted_again_from_another_folder_unless_its_source_is_gone(monkeypatch, hand, run_folder):
    shutil.copytree(run_folder, "checkpoints/first")
    adapted = Path("checkpoints/mine").resolve()
    invoke("adapt", hand, "--checkpoint", "first", "--name", "mine", *FEW)
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    again = invoke("adapt", hand, "--checkpoint", adapted, *FEW)
    source = adapted.parent / "first" / "best.safetensors"
    assert f"starting again from {source}" in again.stderr
    source.write_bytes(b"damaged")
    error = fail("adapt", hand, "--checkpoint", adapted, *FEW, code=1)
    assert all(part in error for part in (str(adapted), f"{source}, ", "cannot be used (", "pretrained-cnn"))
    source.unlink()
    error = fail("adapt", hand, "--checkpoint", adapted, *FEW, code=1)
    assert all(part in error for part in (str(adapted), f"{source}, ", "is gone", "pretrained-cnn"))


@pytest.mark.usefixtures("forgotten")
def test_what_forgets_is_not_kept_and_leaves_nothing(hand, run_folder):
    done = invoke("adapt", hand, "--checkpoint", run_folder, *FEW, "--json", "--name", "mine", code=4)
    document = json.loads(done.stdout)
    assert (document["kept"], document["checkpoint"]) == (False, None)
    assert document["held_out"]["count"] == 20
    assert document["validation"]["count"] == 100
    assert done.stderr.splitlines()[-1].startswith("error: not kept: the validation accuracy on strokes falls by ")
    assert ", more than -100.0%; " in done.stderr.splitlines()[-1]  # what was allowed
    assert listing("checkpoints") == []
    assert "\nsaved      nothing\n" in invoke("adapt", hand, "--checkpoint", run_folder, *FEW, code=4).stdout


@pytest.mark.usefixtures("kept")
def test_what_reads_the_hand_worse_is_not_kept(monkeypatch, hand, run_folder):
    monkeypatch.setattr(adapting.AdaptResult, "before", 20)
    monkeypatch.setattr(adapting.AdaptResult, "after", 19)
    done = invoke("adapt", hand, "--checkpoint", run_folder, *FEW, code=4)
    assert "networks read 19 of 20 right, and as it was it read 20" in done.stderr.splitlines()[-1]
    assert listing("checkpoints") == []


@pytest.mark.usefixtures("kept")
def test_options_reach_the_fine_tune(hand, run_folder):
    options = (
        "--steps",
        2,
        "--learning-rate",
        0.003,
        "--seed",
        5,
        "--output",
        "runs",
        "--name",
        "mine",
        "--device",
        "cpu",
    )
    document = json.loads(invoke("adapt", hand, "--checkpoint", run_folder, "--json", *options).stdout)
    adaptation = document["adaptation"]
    assert document["checkpoint"] == "runs/mine/best.safetensors"
    assert (adaptation["steps"], adaptation["learning_rate"], adaptation["seed"]) == (2, 0.003, 5)
    assert fail("adapt", hand, "--checkpoint", run_folder, *options, code=2).endswith("choose another --name")


def trained_elsewhere(run_folder, **changes):
    """Save the small network with another record; return the file."""
    checkpoint = load_checkpoint(run_folder / "best.safetensors")
    path = Path("other.safetensors")
    save_checkpoint(
        path, checkpoint.config, replace(checkpoint.record, **changes), checkpoint.calibration, checkpoint.build()
    )
    return path


@pytest.mark.usefixtures("kept")
def test_without_mnist_strokes_are_rehearsed_and_it_is_said(monkeypatch, hand, run_folder):
    monkeypatch.setattr(sys.modules[adapt.__module__], "STROKES_SIZE", 200)
    done = invoke("adapt", hand, "--checkpoint", trained_elsewhere(run_folder, dataset="mnist"), *FEW, "--json")
    assert "Rehearsing strokes instead" in done.stderr
    document = json.loads(done.stdout)
    assert document["adaptation"]["rehearsal"] == "strokes"
    saved = load_checkpoint(Path(document["checkpoint"]))
    assert saved.calibration == load_checkpoint(run_folder / "best.safetensors").calibration
    shown = invoke("info", document["checkpoint"]).stdout
    assert re.search(r"validation +accuracy .*, on strokes\n", shown)
    assert not re.search(r"validation +accuracy .*, on ", invoke("info", run_folder).stdout)


def test_a_data_set_that_has_changed_is_not_validated_on(hand, run_folder):
    path = trained_elsewhere(run_folder, fingerprint="0123456789abcdef")
    assert "is not as it was when it trained" in fail("adapt", hand, "--checkpoint", path, code=1)
    assert listing() == ["other.safetensors"]


@pytest.mark.usefixtures("kept")
def test_eval_says_that_it_counts_what_was_learnt(hand, run_folder, tmp_path):
    for path in hand.glob("?/*"):
        (tmp_path / path.parent.name).mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / path.parent.name)
    invoke("adapt", tmp_path, "--checkpoint", run_folder, *FEW)
    assert "adapted to these very pictures" in invoke("eval", "--dataset", tmp_path).stderr
    assert "adapted to these" not in invoke("eval", "--dataset", tmp_path, "--checkpoint", run_folder).stderr


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (["gone"], 1, "no such folder"),
        (["."], 1, "found none"),
        (["HAND", "--checkpoint", "gone"], 1, "no checkpoint at gone"),
        (["HAND", "--name", "a/b"], 2, "no name for a run"),
        (["HAND", "--learning-rate", "0"], 2, "learning_rate"),
        (["HAND", "--steps", "0"], 2, "--steps"),
        (["HAND", "--seed", "-1"], 2, "--seed"),
        (["HAND", "more"], 2, "more"),
        ([], 2, "DIR"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_use_is_one_line_and_leaves_nothing(hand, arguments, code, part):
    arguments = [hand if argument == "HAND" else argument for argument in arguments]
    assert part in fail("adapt", *arguments, code=code)
    assert listing() == []


def test_the_real_command(hand, run_folder):
    done = digitnet_command("adapt", hand, "--checkpoint", run_folder, "--steps", 2, "--json")
    assert done.returncode in (0, 4), done.stderr  # which of them, a handful of steps leaves to chance
    document = json.loads(done.stdout)
    assert document["kept"] == (done.returncode == 0) == bool(listing("checkpoints"))


def test_what_gains_nothing_is_not_kept(monkeypatch, hand, run_folder):
    monkeypatch.setattr(adapting, "SLACK", 1)
    for name in ("before", "after"):
        monkeypatch.setattr(adapting.AdaptResult, name, 18)
    done = invoke("adapt", hand, "--checkpoint", run_folder, *FEW, code=4)
    assert "in 3 parts; no gain is shown" in done.stdout
    assert "networks read 18 of 20 right, and as it was it read 18" in done.stderr.splitlines()[-1]
    assert listing("checkpoints") == []


def test_a_network_that_reads_all_pictures_is_not_adapted(hand, run_folder, classifier, tmp_path):
    for path in sorted(hand.rglob("*.png")):
        digit = classifier.predict(path).digit
        shutil.copy(path, tmp_path / f"{digit}-{path.stem}.png")  # called what it is taken for
    count = len(listing(tmp_path))
    line = fail("adapt", tmp_path, "--checkpoint", run_folder, *FEW, code=4)
    assert f"the network reads all {count} pictures right as it is" in line
    assert listing() == []


@pytest.mark.usefixtures("kept")
def test_misread_pictures_are_named_with_what_they_were_read_as(hand, run_folder, classifier):
    done = invoke("adapt", hand, "--checkpoint", run_folder, *FEW)
    named = dict(re.findall(r"(\S+\.png): a (\d, read as \d) before, \d after\n", done.stdout))
    wrong = {}
    for path in hand.rglob("*.png"):
        label = path.parent.name if path.parent != hand else path.name[0]
        if (digit := classifier.predict(path).digit) != int(label):
            wrong[str(path)] = f"{label}, read as {digit}"
    assert wrong
    assert wrong.items() <= named.items()
    document = json.loads(invoke("adapt", hand, "--checkpoint", run_folder, *FEW, "--json").stdout)
    assert {each["path"]: f"{each['label']}, read as {each['before']}" for each in document["misread"]} == named
