"""Tar shards are read as a stream: every ordinary member once, whatever else the tar holds, at a bounded cost."""

import gzip
import io
import os
import tarfile
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from digitnet import shards
from digitnet.errors import DataError
from digitnet.inputs import expand, read_shard, unpack
from digitnet.shards import read_members
from digitnet.sources import Packed, Unreadable

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
LONG = "long/" * 40 + "5.png"  # which ustar's header has no room for in one field


def packed(members, form="pax", **changes):
    """A tar of (name, bytes), or of (name, bytes, type)."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=FORMATS[form]) as tar:
        for name, data, *kind in members:
            info = tarfile.TarInfo(name)
            info.size, info.type = len(data), kind[0] if kind else tarfile.REGTYPE
            for field, value in changes.items():
                setattr(info, field, value)
            tar.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def shard(folder, data, name="a.tar"):
    (folder / name).write_bytes(data)
    return folder / name


def read(path):
    """What can be read, and the error at its end."""
    found = []
    try:
        found.extend(read_members(path))  # which keeps what came before the error
    except DataError as error:
        return found, str(error)
    return found, None


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("squeeze", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_every_ordinary_member_comes_once_in_order(tmp_path, form, squeeze):
    members = [("./1.png", b"one"), ("1.cls", b"7"), ("/2.png", b""), (LONG, b"x" * 1025), ("ünï.png", b"u" * 512)]
    odd = [("d", b"", tarfile.DIRTYPE), ("l.png", b"", tarfile.SYMTYPE), ("h.png", b"", tarfile.LNKTYPE),
           ("p.png", b"", tarfile.FIFOTYPE), ("c.png", b"", tarfile.CHRTYPE)]  # fmt: skip
    path = shard(
        tmp_path, squeeze(packed([member for pair in zip(members, odd, strict=True) for member in pair], form))
    )
    found, error = read(path)
    names = ["1.png", "1.cls", "2.png", LONG, "ünï.png"]
    assert [(member.name, member.data) for member in found] == [
        (name, data) for name, (_, data) in zip(names, members, strict=True)
    ]
    assert error is None


def test_only_what_is_wanted_is_read(tmp_path):
    path = shard(tmp_path, packed([("1.png", b"a" * 700), ("1.txt", b"b" * 700), ("2.png", b"c")]))
    assert [member.name for member in read_members(path, lambda name: name.endswith(".png"))] == ["1.png", "2.png"]


@given(cut=st.integers(0, 10_239))
@settings(deadline=None, max_examples=60)
def test_a_shard_cut_anywhere_gives_what_was_whole_and_says_so(tmp_path_factory, cut):
    members = [(f"{number}.png", bytes([number]) * 700 * number) for number in range(4)]
    path = shard(tmp_path_factory.mktemp("cut"), packed(members, "ustar")[:cut])
    found, error = read(path)
    ends, place = [], 0
    for _, data in members:
        place += 512 + -(-len(data) // 512) * 512
        ends.append(place)
    whole = sum(end <= cut for end in ends)
    assert [(member.name, member.data) for member in found] == members[:whole]
    assert error == (None if cut >= ends[-1] + 512 else f"{path} is cut short")


@given(data=st.data())
@settings(deadline=None, max_examples=150)
def test_damage_anywhere_is_an_error_or_nothing_worse(tmp_path_factory, data):
    whole = bytearray(
        packed([("1.png", b"x" * 600), (LONG, b"y"), ("3.png", b"z" * 10)], data.draw(st.sampled_from(list(FORMATS))))
    )
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(0, 4_000))] = data.draw(st.integers(0, 255))
    path = shard(tmp_path_factory.mktemp("bad"), bytes(whole))
    found, _ = read(path)
    assert sum(len(member.data) for member in found) <= len(whole)


@given(
    name=st.binary(min_size=1, max_size=110),
    size=st.integers(0, 8**12),
    kind=st.sampled_from([tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE]),
    changes=st.lists(st.tuples(st.integers(0, 511), st.sampled_from(b"\0 /07a\x80\xff")), max_size=3),
    mend=st.booleans(),
)
def test_headers_are_taken_apart_as_tarfile_does(name, size, kind, changes, mend):
    block = bytearray(header(name.decode("latin-1"), size, kind)[-512:])
    for place, value in changes:
        block[place] = value
    if mend:
        block[148:156] = b"%06o\0 " % (sum(block[:148]) + 256 + sum(block[156:]))
    try:
        expected = tarfile.TarInfo.frombuf(bytes(block), "utf-8", "surrogateescape")
    except tarfile.TarError as error:
        with pytest.raises(type(error)):
            shards._header(bytes(block))
        return
    found = shards._header(bytes(block))
    assert (found.name, found.size, found.type) == (expected.name, expected.size, expected.type)


def header(name="5.png", size=0, kind=tarfile.REGTYPE, form="gnu"):
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(FORMATS[form])


def bomb_of_zeros(folder):
    """A gzip of 3 GB of zeros in one member, of 3 MB."""
    with gzip.open(folder / "a.tar", "wb", compresslevel=9) as stream:
        stream.write(header("a.json", 3 << 30))
        for _ in range(3 << 10):
            stream.write(bytes(1 << 20))
    return folder / "a.tar"


HOSTILE = {
    "giant member": (header(size=10**15), "cut short"),
    "giant name": (header("l", 10**12, tarfile.GNUTYPE_LONGNAME), "a header has 1,000,000,000,000 bytes"),
    "giant record": (header("x", 10**9, tarfile.XHDTYPE), "a header has 1,000,000,000 bytes"),
    "beyond any number": (header(size=2**87), "cut short"),
    "negative": (header(size=-600), "less than no bytes"),
    "negative record": (packed([("x", b"15 size=-99999\n", tarfile.XHDTYPE)])[:1024] + header(), "less than no bytes"),
    "record of words": (packed([("x", b"9 size=ab\n", tarfile.XHDTYPE)])[:1024] + header(), "is damaged"),
    "record of no end": (packed([("x", b"0 path=ab\n", tarfile.XHDTYPE)])[:1024] + header(), "is damaged"),
    "digits alone": (packed([("x", b"1" * 60_000, tarfile.XHDTYPE)]), "is damaged"),
    "no tar": (b"\x89PNG\r\n\x1a\n" + bytes(5_000), "is damaged"),
    "empty": (b"", "cut short"),
    "cut gzip": (gzip.compress(packed([("a.png", os.urandom(9_000))]))[:5_000], "is damaged"),
    "no gzip": (b"\x1f\x8b" + b"x" * 5_000, "damaged"),
}


@pytest.mark.parametrize(("data", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_honest_shard_costs_neither_memory_nor_time(tmp_path, data, reason):
    path = shard(tmp_path, data)
    tracemalloc.start()
    try:
        started = time.perf_counter()
        found, error = read(path)
        assert time.perf_counter() - started < 2
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    assert found == []
    assert str(path) in error
    assert reason in error


def test_long_names_that_follow_each_other_do_not_go_deep(tmp_path):
    chain = packed([("x", b"name\0", tarfile.GNUTYPE_LONGNAME)])[:1024] * 5_000
    found, error = read(shard(tmp_path, chain + packed([("1.png", b"1")])))
    assert ([member.name for member in found], error) == (["name"], None)


def test_a_bomb_is_not_unpacked_to_its_end(tmp_path, monkeypatch):
    path = bomb_of_zeros(tmp_path)
    monkeypatch.setattr(shards, "FREE_BYTES", 100_000_000)
    started = time.perf_counter()
    assert read(path)[1] == f"{path} unpacks to more than 200 times its size, and is read no further"
    assert time.perf_counter() - started < 10


def test_a_member_too_large_or_with_holes_is_named_and_the_next_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "MAX_MEMBER_BYTES", 1_000)
    sparse = bytearray(header("holes.png", 10, tarfile.GNUTYPE_SPARSE))
    sparse[482] = 1  # the list of holes goes on in a block behind the header
    sparse[148:156] = b"%06o\0 " % (sum(sparse[:148]) + 256 + sum(sparse[156:]))
    data = packed([("large.png", bytes(1_001))])[: 512 + 1_024]
    path = shard(tmp_path, data + bytes(sparse) + bytes(512) + bytes(512) + packed([("1.png", b"1")]))
    found, error = read(path)
    assert [(member.name, member.fault is None) for member in found] == [
        ("large.png", False), ("holes.png", False), ("1.png", True)]  # fmt: skip
    assert "is too large: 1,001 bytes, the limit in a shard is 1,000" in found[0].fault
    assert error is None


def test_a_long_shard_is_never_in_memory(tmp_path):
    path = shard(tmp_path, packed([(f"{number}.png", bytes(5_000)) for number in range(4_000)], "ustar"))
    tracemalloc.start()
    try:
        assert sum(len(member.data) for member in read_members(path)) == 20_000_000
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.tar")
    assert read(tmp_path / "a.tar")[1].endswith("is not an ordinary file")
    assert "No such file" in read(tmp_path / "b.tar")[1]


def test_pictures_are_told_by_their_names_and_hidden_ones_are_none(tmp_path):
    members = [
        ("1.png", b"1"),
        ("1.cls", b"7"),
        ("._1.png", b""),
        ("d/2.JPG", b"2"),
        ("2.json", b"{}"),
        ("../3.gif", b"3"),
    ]
    path = shard(tmp_path, packed(members, "ustar")[: 11 * 512])
    *pictures, fault = read_shard(path)
    assert [picture.path for picture in pictures] == [f"{path}/1.png", f"{path}/d/2.JPG", f"{path}/../3.gif"]
    assert all(isinstance(picture, Packed) for picture in pictures)
    assert fault == Unreadable(path=str(path), error=f"{path} is cut short")


def test_ranges_folders_and_patterns_name_shards(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(9, 12):
        shard(tmp_path, packed([("1.png", b"1")]), f"t-{number:02}.tar")
    (tmp_path / "t-10b.png").touch()
    (tmp_path / "folder.tar").mkdir()
    listed = ["t-09.tar", "t-10.tar", "t-11.tar"]
    assert [str(place) for place in expand(["t-{09..11}.tar"])] == listed
    assert [str(place) for place in expand(["t-{11..9}.tar"])] == ["t-11.tar", "t-10.tar", "t-9.tar"]
    assert [str(place) for place in expand(["{a..b}{1..2}{0..1}"])] == [f"{{a..b}}{n}" for n in (10, 11, 20, 21)]
    assert [str(place) for place in expand(["t-*.tar"])] == listed
    assert [str(place) for place in expand(["."])] == ["t-09.tar", "t-10.tar", "t-10b.png", "t-11.tar"]
    assert [str(place) for place in expand(["t-{10..10}*"])] == ["t-10.tar", "t-10b.png"]
    endless = expand(["t-{0..99999999999999999}-{0..99999999999999999}.tar"])
    assert str(next(endless)) == "t-0-0.tar"
    paths = [
        place.path if isinstance(place, Packed) else str(place)
        for place in unpack(expand(["t-{09..10}*", "folder.tar"]))
    ]
    assert paths == ["t-09.tar/1.png", "t-10.tar/1.png", "t-10b.png", "folder.tar"]
