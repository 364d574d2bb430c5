"""A file is whole or not there at all."""

import errno
import os
from pathlib import Path

import pytest

from digitnet.atomic import write_atomically


def test_a_file_is_written_and_written_again(tmp_path):
    path = tmp_path / "file"
    for data in (b"first", b"", b"a longer second\n" * 1000):
        write_atomically(path, data)
        assert path.read_bytes() == data
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_it_has_the_permissions_of_any_new_file(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / "file", b"data")
        assert os.umask(umask) == umask  # left as it was
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


def test_until_it_is_on_the_disk_the_old_file_is_there(tmp_path, monkeypatch):
    path, seen = tmp_path / "file", []
    path.write_bytes(b"old")
    sync = os.fsync

    def look(descriptor):
        seen.append(path.read_bytes())
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    write_atomically(path, b"new")
    assert seen[0] == b"old"
    assert path.read_bytes() == b"new"


FAULTS = [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()]


@pytest.mark.parametrize("fault", FAULTS, ids=["full disk", "interrupted"])
@pytest.mark.parametrize("where", ["os.fsync", "pathlib.Path.chmod", "pathlib.Path.replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, fault, where):
    def fail(*_):
        raise fault

    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(where, fail)
    with pytest.raises(type(fault)):
        write_atomically(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_an_error_that_names_it(tmp_path):
    with pytest.raises(OSError, match="gone"):
        write_atomically(tmp_path / "gone" / "file", b"data")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_error_that_names_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.mkstemp", lambda **_: (os.open("/dev/full", os.O_WRONLY), str(tmp_path / "t")))
    with pytest.raises(OSError, match="No space left on device") as raised:
        write_atomically(tmp_path / "best.safetensors", b"data")
    assert "best.safetensors" in str(raised.value.filename)
