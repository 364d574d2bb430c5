"""torture.kills and torture.saves in short: a few kills, each call of a save refused once, and that both can fail."""

import os
import shutil

import pytest

from digitnet import runs
from digitnet.checkpoint import load_checkpoint
from digitnet.runs import LAST, METRICS
from digitnet.snapshots import find_states
from torture.kills import kills
from torture.refusals import BY_KERNEL, IN_PYTHON, may_trace
from torture.saves import inject
from torture.trainings import NAME, RECIPES, arguments, differences, run

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and forks are POSIX's")


def test_killed_trainings_come_to_the_same_end():
    outcome = kills(3, seed=0)
    assert outcome.passed, outcome.failures
    assert outcome.trials == 3
    assert outcome.figures["SIGKILL"] >= 3


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """The folder of a run that nobody disturbed."""
    place = tmp_path_factory.mktemp("ended")
    done = run(arguments(RECIPES[0], place), place / "log")
    assert done.code == 0, done.said
    return place / NAME


def change_weight(folder):
    path = folder / LAST
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    load_checkpoint(path)  # which is whole all the same


def change_state(folder):
    path = find_states(folder)[-1]
    shutil.copyfile(find_states(folder)[-2], path)


CHANGES = {
    f"{LAST}: ": change_weight,
    "the last state: position": change_state,
    METRICS: lambda folder: (folder / METRICS).write_text((folder / METRICS).read_text().replace("\n1,", "\n9,")),
    "left over": lambda folder: (folder / ".best.part").touch(),
    "config.toml": lambda folder: (folder / "config.toml").write_text(""),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_differs_is_found(ended, tmp_path, name):
    shutil.copytree(ended, tmp_path / "copy")
    assert not list(differences(tmp_path / "copy", ended))
    CHANGES[name](tmp_path / "copy")
    assert any(name in line for line in differences(tmp_path / "copy", ended))


def test_a_command_that_is_killed_is_seen_to_be(tmp_path):
    done = run(arguments(RECIPES[0], tmp_path), tmp_path / "log", signal=9, after_s=0.01)
    assert (done.code, done.hit) == (137, True)


def test_no_refused_call_costs_what_was_saved(tmp_path):
    outcome = inject(IN_PYTHON, 10_000, 0, tmp_path)
    assert outcome.passed, outcome.failures
    assert outcome.trials == outcome.figures["of"] > 100


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
def test_nor_does_one_that_the_kernel_refuses(tmp_path):
    if not may_trace(tmp_path):
        pytest.skip("no leave to trace processes")
    outcome = inject(BY_KERNEL, 4, 0, tmp_path)
    assert outcome.passed, outcome.failures


def test_a_save_that_is_not_atomic_is_found_out(tmp_path, monkeypatch):
    def write(path, data):
        with path.open("wb") as stream:
            stream.write(data)
            stream.flush()

    monkeypatch.setattr(runs, "write_atomically", write)
    outcome = inject(IN_PYTHON, 10_000, 0, tmp_path)
    assert any("cannot be read" in failure for failure in outcome.failures)
    assert {failure.split(":")[0] for failure in outcome.failures} == {"metrics", "config"}
