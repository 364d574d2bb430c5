"""scripts/scale: shards against tarfile and Pillow."""

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from digitnet.data.strokes import draw_strokes
from scale.__main__ import main


def write(folder, count=25, *options):
    return main(["shards", str(folder), "--count", str(count), "--per-shard", "10", "--workers", "1", *options])


def read(folder):
    """List (name, bytes) of all members of all shards, and check what else is in their headers."""
    found = []
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                assert (member.mtime, member.uid, member.mode, member.isreg()) == (0, 0, 0o644, True)
                found.append((member.name, archive.extractfile(member).read()))
    return found


def test_shards_hold_the_digits_of_the_stream(tmp_path, capsys):
    assert write(tmp_path / "shards", 25, "--seed", "3", "--workers", "2") == 0
    assert "3 shards of 3 written: 25 digits" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "shards").glob("*.tar")) == [f"digits-00000{i}.tar" for i in "012"]
    members = read(tmp_path / "shards")
    assert [name for name, _ in members] == [f"{i:08}.{kind}" for i in range(25) for kind in ("png", "cls")]
    images, targets = draw_strokes(25, seed=3)
    assert [int(data) for name, data in members if name.endswith(".cls")] == targets.tolist()
    for (_, data), image in zip(members[::2], images, strict=True):
        with Image.open(io.BytesIO(data)) as picture:
            assert picture.mode == "L"
            assert np.array_equal(np.asarray(picture), image[0])


def test_a_second_start_makes_what_is_missing_and_the_same_bytes(tmp_path, capsys):
    write(tmp_path)
    first = {path: path.read_bytes() for path in tmp_path.glob("*.tar")}
    kept, gone = tmp_path / "digits-000000.tar", tmp_path / "digits-000001.tar"
    written_ns = kept.stat().st_mtime_ns
    gone.unlink()
    (tmp_path / ".digits-000001.tar.abc.part").write_bytes(b"half")  # what a killed one left
    assert write(tmp_path) == 0
    assert "1 shards of 3 written: 10 digits" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in tmp_path.glob("*.tar")} == first
    assert kept.stat().st_mtime_ns == written_ns
    assert not list(tmp_path.glob(".*"))


def test_other_settings_need_another_folder(tmp_path, capsys):
    write(tmp_path)
    assert write(tmp_path, 25, "--seed", "1") == 2
    assert "name another folder" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["shards", "x", "--count", "0"], ["shards"], []])
def test_wrong_command_lines_are_refused(arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
