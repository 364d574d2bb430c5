"""The promise of the checkpoint's format number, held to files that were written when each format was the newest.

Every digitnet reads every format from 3 on, to the same probabilities; others it refuses by their number, with what to
do. ``tests/checkpoints/README.md`` says how the files were made. ``python tests/test_formats.py`` writes down the
probabilities of a new one, and never those of one that has them already.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from digitnet.checkpoint import FORMAT, load_checkpoint
from digitnet.errors import CheckpointError
from digitnet.predictor import Classifier

FOLDER = Path(__file__).parent / "checkpoints"
FIRST = 3  # the oldest format that is read: never raise it
STORED = sorted(FOLDER.glob("*.safetensors"))


def description(path):
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["digitnet"])


def format_of(path):
    return description(path)["format"]


def images():
    """Return the ten digits that the probabilities are of; drawn once, for the strokes may be drawn better one day."""
    return torch.from_numpy(np.load(FOLDER / "digits.npy"))


def refusal(path):
    with pytest.raises(CheckpointError) as raised:
        load_checkpoint(path)
    assert str(path) in str(raised.value)
    return str(raised.value)


READ = [path for path in STORED if format_of(path) >= FIRST]
REFUSED = [path for path in STORED if format_of(path) < FIRST]


@pytest.mark.parametrize("path", READ, ids=lambda path: path.stem)
def test_a_stored_checkpoint_gives_its_stored_probabilities(path):
    expected = json.loads(path.with_suffix(".json").read_text())
    found = Classifier.load(path).probabilities(images())
    assert found.shape == (10, 10)
    assert (found.double() - torch.tensor(expected, dtype=torch.float64)).abs().max() < 1e-6


@pytest.mark.parametrize("path", REFUSED, ids=lambda path: path.stem)
def test_what_came_before_the_promise_is_refused_with_what_to_do(path):
    message = refusal(path)
    assert f"has format {format_of(path)}, and this digitnet reads" in message
    assert message.endswith("; train the network again, or use --checkpoint pretrained-cnn")


def test_every_format_has_a_stored_checkpoint():
    """Fails where FORMAT is raised and no file of the new format is stored; the README beside them says how."""
    assert {format_of(path) for path in STORED} == set(range(1, FORMAT + 1))
    for path in STORED:
        assert path.stem.split("-")[:2] == ["format", str(format_of(path))]


def renumbered(tmp_path, number):
    """Return a checkpoint of the newest format with another format number, which may be no number at all."""
    newest = next(path for path in STORED if format_of(path) == FORMAT)
    path = tmp_path / "best.safetensors"
    document = {**description(newest), "format": number}
    save_file(load_file(newest), path, metadata={"digitnet": json.dumps(document)})
    return path


def test_with_its_own_number_it_is_read(tmp_path):
    load_checkpoint(renumbered(tmp_path, FORMAT))


@pytest.mark.parametrize("number", [FORMAT + 1, 1_000_000, 10**400])
def test_a_format_of_the_future_is_refused_by_its_number(tmp_path, number):
    message = refusal(renumbered(tmp_path, number))
    assert f"has format {number}, and this digitnet reads" in message
    assert "; a newer digitnet wrote it" in message


@pytest.mark.parametrize("number", [0, -1, -(10**400)])
def test_a_format_that_never_was_is_refused_by_its_number(tmp_path, number):
    assert f"has format {number}, and this digitnet reads" in refusal(renumbered(tmp_path, number))


@pytest.mark.parametrize(
    "number", [str(FORMAT), float(FORMAT), FORMAT + 0.5, float("nan"), float("inf"), True, None, [FORMAT], {}], ids=repr
)
def test_a_format_that_is_no_whole_number_is_refused(tmp_path, number):
    message = refusal(renumbered(tmp_path, number))
    assert "its description is damaged: its format number is no whole number, but " in message
    assert type(number).__name__ in message


if __name__ == "__main__":
    for path in READ:
        if not (target := path.with_suffix(".json")).exists():
            rows = Classifier.load(path).probabilities(images()).tolist()
            target.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n")
            print(target)  # noqa: T201
