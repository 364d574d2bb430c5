"""Damaged and hostile files of every kind, in short; the full form is the torture package's."""

import os
import random
import sys
import time
from pathlib import Path

import pytest

from digitnet.errors import DataError
from torture import files, mutations, samples, watch
from torture.lies import lie_in_png
from torture.watch import Ordeal, undergo

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the trials are watched in forked processes"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning"),  # fork, beside torch's threads
]


@pytest.mark.parametrize("kind", ["checkpoints", "idx_files", "toml_files", "pickles"])
def test_no_file_harms(kind):
    outcome = getattr(files, kind)(150, seed=7)
    assert outcome.failures == ()
    assert outcome.passed
    assert outcome.trials == 150
    assert 0 < outcome.figures["longest_s"] < 5
    assert 0 < outcome.figures["peak_mb"] < watch._peak_mb() + 1_000  # each worker begins with what this process has


def test_no_picture_harms():
    outcome = files.pictures(25, seed=7)
    assert outcome.failures == ()
    assert outcome.trials == 25 * len(samples.FORMATS)
    assert outcome.figures["trials_of_each_format"] == 25


def run(attempt, trials=3, **options):
    return undergo(
        Ordeal(name="trap", make=lambda rng: {"file": rng.randbytes(4)}, attempt=attempt, **options), trials, 0
    )


def write_to_stderr(_):
    os.write(2, b"TIFFRead: no")


def end(_):
    os._exit(3)


def refuse(folder):
    raise DataError(f"{folder}: no")


def refuse_at_length(folder):
    raise DataError(f"{folder}: no\nand no")


@pytest.mark.parametrize(
    ("attempt", "failures", "said"),
    [
        (lambda folder: folder.read_bytes(), 3, "IsADirectoryError"),
        (write_to_stderr, 3, "wrote to stderr: b'TIFFRead: no'"),
        (end, 3, "ended the process"),
        (refuse, 0, ""),
        (refuse_at_length, 3, "its message is no line"),
        (lambda folder: (folder / "file").read_bytes(), 0, ""),
    ],
    ids=["exception", "stderr", "exit", "error", "two lines", "good"],
)
def test_the_watch_sees_what_harms(attempt, failures, said):
    stood = run(attempt)
    assert len(stood.failures) == failures
    assert all(said in failure and "trap, seed 0, trial " in failure for failure in stood.failures)


def test_the_watch_sees_what_takes_too_much_memory_beside_what_there_was(monkeypatch):
    peaks = iter((1_600.0, 1_640.0, 1_660.0, 1_660.0))  # as the worker begins, and after each trial
    monkeypatch.setattr("torture.watch._peak_mb", lambda: next(peaks))  # as it was for the worker when it was forked
    monkeypatch.setattr("torture.watch.LIMIT_MB", 50)
    stood = run(refuse)
    assert [failure.partition(": ")[2] for failure in stood.failures] == ["took 60 MB"] * 2
    assert stood.peak_mb == 1_660


def test_the_watch_measures_memory(monkeypatch):
    monkeypatch.setattr("torture.watch.LIMIT_MB", -1)
    stood = run(refuse)
    assert [failure.split()[-1] for failure in stood.failures] == ["MB"] * 3
    assert stood.peak_mb > 10


def test_the_watch_sees_what_takes_too_much_time(monkeypatch):
    monkeypatch.setattr("torture.watch.LIMIT_S", 0.05)
    stood = run(lambda _: sum(range(5_000_000)))
    assert [" took 0." in failure for failure in stood.failures] == [True] * 3
    assert stood.longest_s > 0.05


def test_the_watch_ends_what_hangs(monkeypatch):
    monkeypatch.setattr("torture.watch.WAIT_S", 0.5)
    started = time.perf_counter()
    stood = run(lambda _: time.sleep(60), trials=2)
    assert time.perf_counter() - started < 10
    assert [failure.partition("): ")[2] for failure in stood.failures] == ["still at it after 0.5 s"] * 2


def test_a_trial_can_be_repeated():
    ordeal = Ordeal(name="any", make=files.make_checkpoint, attempt=files.use_checkpoint)
    made = [ordeal.make(random.Random("any 0 5")) for _ in range(2)]
    assert made[0] == made[1] != ordeal.make(random.Random("any 0 6"))


@pytest.mark.parametrize("mutation", mutations.MUTATIONS, ids=lambda function: function.__name__)
def test_mutations_change_bytes_and_take_any(mutation):
    data = b"P2 40 40 " + bytes(range(200))
    made = [mutation(data, random.Random(seed)) for seed in range(40)]
    assert sum(changed != data for changed in made) > 30
    for seed in range(40):
        mutation(b"", random.Random(seed))


def test_a_lie_in_a_png_reaches_the_decoder():
    from zlib import crc32

    for seed in range(50):
        data = lie_in_png(samples.pictures("PNG")[1], random.Random(seed))
        size = int.from_bytes(data[8:12], "big")
        assert crc32(data[12 : 16 + size]) == int.from_bytes(data[16 + size : 20 + size], "big")


def test_the_samples_are_good_files(tmp_path):
    for kind in samples.FORMATS:
        for data in samples.pictures(kind):
            (tmp_path / "five").write_bytes(data)
            assert files.read_prepared(tmp_path / "five").objection not in ("blank", "noise"), kind
    for data in samples.checkpoints():
        (tmp_path / "best.safetensors").write_bytes(data)
        files.use_checkpoint(tmp_path)
    for data in samples.configs():
        (tmp_path / "config.toml").write_bytes(data)
        files.read_toml(tmp_path)
    for images, labels in samples.idx_pairs():
        (tmp_path / "train-images-idx3-ubyte").write_bytes(images)
        (tmp_path / "train-labels-idx1-ubyte").write_bytes(labels)
        files.load_idx(tmp_path)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # what the trap opens
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_pickles_do_run_where_they_are_opened(monkeypatch, tmp_path):
    import pickle

    from torture.pickles import MARKER, hostile

    monkeypatch.chdir(tmp_path)
    for data in hostile()[:12]:
        pickle.loads(data)
        Path(MARKER).unlink()  # the trap works
