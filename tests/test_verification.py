"""digitnet verify: a run as it was made agrees with itself, whatever happened to it; one that was changed does not."""

import json
import shutil
from dataclasses import replace
from typing import get_args

import pytest
import torch
from conftest import digitnet_command

from digitnet import verification
from digitnet.checkpoint import load_checkpoint, save_checkpoint
from digitnet.config import OptimizerName
from digitnet.data.load import load_training
from digitnet.errors import CheckpointError
from digitnet.progress import StateResult
from digitnet.recipes import build_config
from digitnet.runs import BEST, CONFIG, LAST, METRICS
from digitnet.snapshots import find_states, load_newest, save_snapshot
from digitnet.training import Saving, train_run
from digitnet.verification import verify_run

SIZE = 90
SETTINGS = {
    "dataset": "strokes", "train_size": SIZE, "nondigits": 20, "augment": "affine", "weight_average": 0.9,
    "dropout": 0.2, "batch_size": 16, "epochs": 3, "device": "cpu", "schedule": "cosine", "precision": "fp32",
}  # fmt: skip
NETWORKS = {"mlp": {"hidden_sizes": (16,)}, "cnn": {"channels": (4,), "pool_size": 4, "pool_stride": 4}}


@pytest.fixture(scope="module")
def digits():
    return load_training("strokes", size=SIZE)


def train(folder, digits, *, kind="mlp", resume=None, until=None, **settings):
    """Train in a folder, or go on; until a step, as if killed after its state was saved."""
    folder.mkdir(exist_ok=True)
    config = build_config(kind=kind, preset="fast", overrides=SETTINGS | NETWORKS[kind] | settings)
    config = resume.config if resume else config
    for result in train_run(config, *digits, folder, resume=resume, saving=Saving(every_steps=1)):
        if isinstance(result, StateResult) and result.state.position.step == until:
            return folder
    return folder


def go_on(folder, digits, **changed):
    snapshot = load_newest(folder).snapshot
    rule = replace(snapshot.config.train, **changed)
    return train(folder, digits, resume=replace(snapshot, config=replace(snapshot.config, train=rule)))


def resave(folder, **changed):
    """Write the newest state anew with other contents, as a state that is whole."""
    snapshot = load_newest(folder).snapshot
    if "position" in changed:
        position = replace(snapshot.state.position, **changed.pop("position"))
        changed["state"] = replace(snapshot.state, position=position)
    save_snapshot(folder, replace(snapshot, **changed))


@pytest.fixture(scope="module")
def made(tmp_path_factory, digits):
    return train(tmp_path_factory.mktemp("made") / "run", digits)


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "run")


def verdicts(folder):
    found = verify_run(folder)
    return {check.name: check for check in found.checks}, found


def assert_agrees(folder):
    _, found = verdicts(folder)
    assert {check.verdict for check in found.checks} == {"ok"}, found
    assert "first steps" in {check.name for check in found.checks}


@pytest.mark.parametrize("optimizer", get_args(OptimizerName))
@pytest.mark.parametrize("kind", NETWORKS)
def test_a_run_of_any_optimizer_agrees(tmp_path, digits, kind, optimizer):
    folder = train(tmp_path / "run", digits, kind=kind, optimizer=optimizer)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert_agrees(folder)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_killed_run_agrees_and_so_does_what_it_goes_on_to(tmp_path, digits):
    folder = train(tmp_path / "run", digits, until=9)
    assert_agrees(folder)
    assert_agrees(go_on(folder, digits))


def test_a_run_killed_before_its_first_step_agrees(tmp_path, digits):
    folder = train(tmp_path / "run", digits, until=0)
    names, found = verdicts(folder)
    assert not found.named("differs")
    assert "first steps" not in names  # there are none


def test_a_run_that_is_one_epoch_ahead_of_its_state_agrees(folder):
    find_states(folder)[-1].unlink()
    assert load_newest(folder).snapshot.state.position.epoch == 2
    assert_agrees(folder)


@pytest.mark.parametrize("when", [3, None], ids=["within the first steps", "after its end"])
def test_a_run_that_grew_is_compared_by_the_length_that_it_began_with(tmp_path, digits, when):
    folder = go_on(train(tmp_path / "run", digits, until=when), digits, epochs=5)
    position = load_newest(folder).snapshot.state.position
    assert len(position.hashes) == (2 if when else 5)  # steps 1 and 2, or all
    assert_agrees(folder)
    resave(folder, position={"planned": position.planned + 6})
    names, _ = verdicts(folder)
    assert names["first steps"].verdict == "differs"  # so the length matters


def test_a_run_that_went_back_is_compared_at_the_rates_that_it_had(tmp_path, digits):
    folder = train(tmp_path / "run", digits, until=2)
    resave(folder, position={"rollbacks": (2,)})  # as numbers that went wrong would have it
    assert_agrees(go_on(folder, digits))
    resave(folder, position={"rollbacks": ()})
    names, _ = verdicts(folder)
    assert names["first steps"].expected.startswith("step 4: ")


def test_it_computes_with_the_runs_threads(tmp_path, digits):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(before + 1)
        folder = train(tmp_path / "run", digits)
        torch.set_num_threads(before)
        assert load_newest(folder).snapshot.origin.threads == before + 1
        assert_agrees(folder)
        assert torch.get_num_threads() == before
    finally:
        torch.set_num_threads(before)


def test_another_torch_is_noted_and_no_fault(folder):
    origin = load_newest(folder).snapshot.origin
    resave(folder, origin=replace(origin, torch="1.0"))
    names, found = verdicts(folder)
    assert found.named("warning") == ("version of torch",)
    assert names["version of torch"].expected == "1.0"
    assert not found.named("differs")


def test_versions_stay_those_that_it_began_with(tmp_path, digits):
    folder = train(tmp_path / "run", digits, until=2)
    resave(folder, origin=replace(load_newest(folder).snapshot.origin, torch="1.0"))
    assert load_newest(go_on(folder, digits)).snapshot.origin.torch == "1.0"


def change_weight(folder, name):
    checkpoint = load_checkpoint(folder / name)
    model = checkpoint.build()
    model.state_dict()["head.output.weight"][0] += 1
    save_checkpoint(folder / name, checkpoint.config, checkpoint.record, checkpoint.calibration, model)


def change_record(folder, **changed):
    c = load_checkpoint(folder / BEST)
    save_checkpoint(folder / BEST, c.config, replace(c.record, **changed), c.calibration, c.build())


def replace_text(path, old, new):
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


CHANGES = {
    "a weight of the last": (lambda f: change_weight(f, LAST), f"{LAST}: weights"),
    "a weight of the best": (lambda f: change_weight(f, BEST), f"{BEST}: validation"),
    "an accuracy": (lambda f: change_record(f, validation_accuracy=1.0), f"{BEST}: validation"),
    "an epoch": (lambda f: change_record(f, epoch=1, step=1), f"{BEST}: epoch"),
    "the data of a checkpoint": (lambda f: change_record(f, fingerprint="0"), f"{BEST}: made by"),
    "the size of its data": (lambda f: change_record(f, train_size=7), f"{BEST}: made by"),
    "no best": (lambda f: (f / BEST).unlink(), BEST),
    "a cut checkpoint": (lambda f: (f / LAST).write_bytes((f / LAST).read_bytes()[:-9]), LAST),
    "config.toml": (lambda f: replace_text(f / CONFIG, "batch_size = 16", "batch_size = 15"), CONFIG),
    "no config.toml": (lambda f: (f / CONFIG).unlink(), CONFIG),
    "metrics.csv": (lambda f: replace_text(f / METRICS, "\n2,", "\n3,"), METRICS),
    "no metrics.csv": (lambda f: (f / METRICS).unlink(), METRICS),
    "a damaged state": (lambda f: find_states(f)[-1].write_bytes(b"{}"), "state files"),
    "a hash": (lambda f: resave(f, position={"hashes": ("0" * 16,)}), "first steps"),
    "more hashes than there are": (lambda f: resave(f, position={"hashes": ("0" * 16,) * 9}), "first steps"),
    "no length": (lambda f: resave(f, position={"planned": 0}), "first steps"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_was_changed_differs(folder, what):
    change, name = CHANGES[what]
    change(folder)
    names, found = verdicts(folder)
    assert name in found.named("differs"), found
    assert names[name].expected != names[name].found


def test_a_longer_configuration_than_the_states_is_noted(folder):
    replace_text(folder / CONFIG, "epochs = 3", "epochs = 5")
    names, found = verdicts(folder)
    assert found.named("warning") == (CONFIG,)
    assert names[CONFIG].found == "epochs 5"


def test_other_data_differ_and_nothing_is_trained_on_them(folder, monkeypatch):
    others = load_training("strokes", size=SIZE + 10)
    monkeypatch.setattr(verification, "load_training", lambda *_, **__: others)
    _, found = verdicts(folder)
    assert set(found.named("differs")) >= {"data", "training images"}
    assert found.named("unchecked") == ("first steps",)


def test_data_that_are_not_there_are_said_to_be(folder):
    config = load_newest(folder).snapshot.config
    gone = replace(config, train=replace(config.train, dataset="gone"))
    resave(folder, config=gone)
    _, found = verdicts(folder)
    assert found.named("unchecked") == ("data",)


def test_a_folder_without_a_state_cannot_be_verified(tmp_path):
    with pytest.raises(CheckpointError, match="no state"):
        verify_run(tmp_path)


def test_the_command_says_what_differs_and_ends_with_4(folder):
    done = digitnet_command("verify", folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "ok           first steps: the same weights after 1, 2, 4, 8, 16" in done.stdout
    change_weight(folder, LAST)
    done = digitnet_command("verify", folder, "--json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["agrees"]) == (4, False)
    assert {"last.safetensors: weights"} < {c["name"] for c in report["checks"] if c["verdict"] == "differs"}
    assert done.stderr.startswith("error: the run differs from what it says: last.safetensors: weights")


def test_the_command_ends_with_1_where_there_is_no_run_or_not_all_could_be_checked(folder, tmp_path):
    done = digitnet_command("verify", tmp_path / "nothing")
    assert (done.returncode, done.stdout) == (1, "")
    config = load_newest(folder).snapshot.config
    resave(folder, config=replace(config, train=replace(config.train, dataset="gone")))
    replace_text(folder / CONFIG, '"strokes"', '"gone"')
    for name in (BEST, LAST):
        c = load_checkpoint(folder / name)
        save_checkpoint(folder / name, load_newest(folder).snapshot.config, c.record, c.calibration, c.build())
    done = digitnet_command("verify", folder)
    assert done.returncode == 1
    assert "not checked  data: expected strokes" in done.stdout
    assert done.stderr == "error: not all of the run could be checked: data\n"
