"""The cache is made once, is read by mapping memory, mends itself, and is never needed."""

import errno
import json
import os
import time
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from conftest import run_python
from filelock import FileLock

from digitnet.data import cache
from digitnet.data.cache import cached
from digitnet.data.digits import Digits

TRAIN, TEST = (
    Digits(
        name="some",
        images=torch.randint(
            256, (count, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(count)
        ),
        targets=torch.arange(count) % 10,
        fingerprint=f"{count:016x}",
    )
    for count in (30, 20)
)


def build():
    return {"train": TRAIN, "test": TEST}


def fail():
    raise AssertionError("built again")


def assert_same(digits, expected):
    assert (digits.name, digits.fingerprint) == (expected.name, expected.fingerprint)
    assert torch.equal(digits.images, expected.images)
    assert torch.equal(digits.targets, expected.targets)


def names(folder):
    return sorted(path.name for path in folder.rglob("*"))


def test_the_second_read_does_not_build(cache_folder):
    assert_same(cached("some", "train", build), TRAIN)
    assert_same(cached("some", "train", fail), TRAIN)
    assert_same(cached("some", "test", fail), TEST)
    files = ["info.json", "test-images.npy", "test-targets.npy", "train-images.npy", "train-targets.npy"]
    assert names(cache_folder / "some") == files


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux lists what is mapped")
def test_the_second_read_maps_memory(cache_folder):
    cached("some", "train", build)
    digits = cached("some", "train", fail)
    assert str(cache_folder / "some" / "train-images.npy") in Path("/proc/self/maps").read_text()
    digits.images.zero_()  # what a program does to its images stays its own
    assert_same(cached("some", "train", fail), TRAIN)


def test_keys_do_not_mix():
    cached("some", "train", build)
    assert_same(cached("other", "train", lambda: {"train": TEST}), TEST)


def _edit_info(change):
    def damage(folder):
        info = json.loads((folder / "info.json").read_text())
        (folder / "info.json").write_text(json.dumps(change(info)))

    return damage


def _cut(name, size):
    return lambda folder: os.truncate(folder / name, size)


def _put(name, array):
    return lambda folder: np.save(folder / name, array)


def _head(name, text):
    """Put another header, and nothing after it, into an array's file."""
    data = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()
    return lambda folder: (folder / name).write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda folder: (folder / "info.json").unlink(), id="no info"),
        pytest.param(_cut("info.json", 20), id="info cut"),
        pytest.param(_edit_info(lambda _: []), id="info is a list"),
        pytest.param(_edit_info(lambda info: {"test": info["test"]}), id="info without the part"),
        pytest.param(_edit_info(lambda _: {"train": {"name": "some"}}), id="info without the fingerprint"),
        pytest.param(lambda folder: (folder / "train-images.npy").unlink(), id="no images"),
        pytest.param(_cut("train-images.npy", 500), id="images cut"),
        pytest.param(_cut("train-images.npy", 0), id="images empty"),
        pytest.param(_cut("train-targets.npy", 150), id="targets cut"),
        pytest.param(_cut("train-targets.npy", 0), id="targets empty"),
        pytest.param(_put("train-images.npy", TRAIN.images.float().numpy()), id="images are fractions"),
        pytest.param(_put("train-images.npy", TRAIN.images[:, 0].numpy()), id="images without channel"),
        pytest.param(_put("train-images.npy", TRAIN.images[1:].numpy()), id="an image is missing"),
        pytest.param(_put("train-targets.npy", TRAIN.targets.int().numpy()), id="targets are short"),
        pytest.param(_put("train-targets.npy", TRAIN.targets.numpy() + 1), id="a target is 10"),
        pytest.param(_put("train-targets.npy", TRAIN.targets.numpy() - 1), id="a target is -1"),
        pytest.param(_put("train-targets.npy", np.array([{}] * 30)), id="targets are objects"),
        pytest.param(_head("train-targets.npy", "{'descr': '<i8', 'fortran_order': False, 'shape': (10**12,)}"),
                     id="targets are endless"),
        pytest.param(_head("train-targets.npy", "{'descr': '<i8', 'fortran_order': False, 'shape': (999999999999,)}"),
                     id="targets are said to be many"),
        pytest.param(_head("train-images.npy", "(" * 5_000), id="header is deep"),
        pytest.param(_head("train-images.npy", "{'descr': '"), id="header is no text"),
        pytest.param(_edit_info(lambda _: {"train": {"name": 3, "fingerprint": "x"}}), id="name is a number"),
        pytest.param(lambda folder: (folder / "info.json").write_text("[" * 50_000), id="info is deep"),
        pytest.param(lambda folder: (folder / "info.json").write_text(" " * 200_000 + "{}"), id="info is long"),
    ],
)  # fmt: skip
def test_a_damaged_cache_is_built_anew(cache_folder, damage):
    cached("some", "train", build)
    damage(cache_folder / "some")
    assert_same(cached("some", "train", build), TRAIN)
    assert_same(cached("some", "train", fail), TRAIN)
    assert_same(cached("some", "test", fail), TEST)


@pytest.mark.timeout(20)
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe_in_the_cache_is_not_waited_for(cache_folder):
    cached("some", "train", build)
    (cache_folder / "some" / "info.json").unlink()
    os.mkfifo(cache_folder / "some" / "info.json")
    assert_same(cached("some", "train", build), TRAIN)


def test_a_cache_that_cannot_be_made_is_done_without(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DIGITNET_CACHE_DIR", str(tmp_path / "file" / "cache"))
    for _ in range(2):
        assert_same(cached("some", "train", build), TRAIN)


def test_a_full_disk_leaves_nothing_behind(cache_folder, monkeypatch):
    def save_half(path, array):
        Path(path).write_bytes(array.tobytes()[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", save_half)
    assert_same(cached("some", "train", build), TRAIN)
    assert set(names(cache_folder)) <= {"some.lock"}


def test_what_a_killed_process_left_is_swept_away(cache_folder):
    (cache_folder / "some.part-killed").mkdir(parents=True)
    (cache_folder / "some.part-killed" / "train-images.npy").touch()
    cached("some", "train", build)
    assert not list(cache_folder.glob("*.part-*"))


@pytest.mark.timeout(20)
def test_a_build_that_fails_does_not_keep_the_lock():
    with pytest.raises(AssertionError, match="built again"):
        cached("some", "train", fail)
    assert_same(cached("some", "train", build), TRAIN)


@pytest.mark.timeout(20)
def test_threads_that_start_together_build_once():
    builds, answers = [], []

    def build_slowly():
        builds.append(1)
        time.sleep(0.1)
        return build()

    def read():
        answers.append(cached("some", "train", build_slowly))

    threads = [Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(builds) == 1
    assert len(answers) == 4
    for answer in answers:
        assert_same(answer, TRAIN)


RACERS = """
import os, time, torch
from digitnet.data.cache import cached
from digitnet.data.digits import Digits

def build():
    with open("builds", "a") as log:
        log.write("built\\n")
    time.sleep(0.5)
    images, targets = torch.full((9, 1, 28, 28), 7, dtype=torch.uint8), torch.arange(9)
    return {"train": Digits(name="some", images=images, targets=targets, fingerprint="f")}

child = os.fork()
digits = cached("some", "train", build)
line = f"{digits.name} {len(digits)} {int(digits.images.min())} {int(digits.targets[8])}\\n"
os.write(1, line.encode())  # in one piece: two processes print
if child:
    os._exit(os.waitpid(child, 0)[1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_processes_that_start_together_build_once(cache_folder):
    done = run_python("-W", "ignore", "-c", RACERS)
    assert (done.returncode, done.stdout, done.stderr) == (0, "some 9 7 8\n" * 2, "")
    assert Path("builds").read_text() == "built\n"
    assert not list(cache_folder.glob("*.part-*"))


def test_the_cache_is_per_user_and_can_be_moved(tmp_path, monkeypatch):
    monkeypatch.setenv("DIGITNET_CACHE_DIR", str(tmp_path / "here"))
    assert cache.cache_dir() == tmp_path / "here"
    monkeypatch.delenv("DIGITNET_CACHE_DIR")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache.cache_dir().is_relative_to(tmp_path / "home")


@pytest.mark.timeout(60)
def test_a_wait_is_told_to_the_person(cache_folder, monkeypatch, caplog):
    monkeypatch.setattr(cache, "PATIENCE_S", 0.2)
    cache_folder.mkdir(parents=True)
    held = FileLock(cache_folder / "some.lock").acquire()
    waiting = Thread(target=lambda: cached("some", "train", build))
    waiting.start()
    while not caplog.messages:  # the time limit ends this
        time.sleep(0.01)
    held.lock.release()
    waiting.join()
    assert caplog.messages == [f"Waiting for another process, which holds {cache_folder / 'some.lock'}."]
    assert_same(cached("some", "train", fail), TRAIN)


def test_a_short_wait_is_not_told(caplog):
    cached("some", "train", build)
    assert not caplog.messages


def test_a_file_system_without_locks_is_done_without(monkeypatch):
    def refuse(*_, **__):
        raise NotImplementedError("FileSystem does not appear to support flock; use SoftFileLock instead")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    assert_same(cached("some", "train", build), TRAIN)


def test_what_is_renamed_is_on_disk_before(cache_folder, monkeypatch):
    synced, fsync = set(), os.fsync

    def note_and_sync(descriptor):
        synced.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note_and_sync)
    cached("some", "train", build)
    assert {path.stat().st_ino for path in (cache_folder / "some").iterdir()} == synced
