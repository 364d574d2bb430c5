"""IDX files are read exactly, and each way to be wrong is named with what was expected and what was found."""

import gzip
import os
import sys
from contextlib import suppress

import numpy as np
import pytest
from conftest import idx_bytes, run_python, write_idx, write_part
from hypothesis import given
from hypothesis import strategies as st

from digitnet.data.idx import IMAGES_MAGIC, find_idx, read_idx, read_pair
from digitnet.errors import DataError

IMAGES = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
LABELS = np.array([7, 0, 9], dtype=np.uint8)
WHOLE = idx_bytes(IMAGES)
PLAIN_AND_GZ = pytest.mark.parametrize("suffix", ["", ".gz"])


@PLAIN_AND_GZ
@pytest.mark.parametrize("place", [".", "MNIST/raw"])
def test_images_and_labels_come_back_as_they_were(tmp_path, place, suffix):
    write_part(tmp_path / place, "test", IMAGES, LABELS, suffix)
    images, labels = read_pair(*find_idx(tmp_path, "test"))
    assert np.array_equal(images, IMAGES)
    assert np.array_equal(labels, LABELS)
    assert find_idx(tmp_path, "train") is None


@PLAIN_AND_GZ
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (WHOLE[:-7], "truncated: expected 76 bytes for 3x4x5, found 69"),
        (WHOLE + b"xx", "too long: expected 76 bytes for 3x4x5, found more"),
        (WHOLE[:10], "truncated: expected a header of 16 bytes, found 10 bytes"),
        (WHOLE[:3], "expected the IDX magic number 0x00000803, found 3 bytes"),
        (b"", "expected the IDX magic number 0x00000803, found 0 bytes"),
        (idx_bytes(LABELS), "expected the IDX magic number 0x00000803, found 0x00000801"),
        (b"<!DOCTYPE html>", "expected the IDX magic number 0x00000803, found 0x3c21444f"),
        (
            WHOLE[:4] + b"\xff" * 12,
            "4294967295x4294967295x4294967295 is too large: the limits are 600,000 images of 4,000,000 pixels",
        ),
    ],
    ids=["cut", "too long", "header cut", "magic cut", "empty", "labels", "text", "endless"],
)
def test_a_wrong_length_or_magic_number_is_named(tmp_path, suffix, content, message):
    path = write_idx(tmp_path / f"images{suffix}", content)
    with pytest.raises(DataError) as raised:
        read_idx(path, IMAGES_MAGIC)
    assert str(raised.value).startswith(f"{path}: {message}")


@pytest.mark.parametrize(
    "damaged",
    [
        WHOLE,  # not compressed at all
        gzip.compress(WHOLE)[:-12],
        gzip.compress(WHOLE)[:15] + b"\xff\xff\xff" + gzip.compress(WHOLE)[18:],
        gzip.compress(WHOLE)[:-8] + bytes(8),  # the sum at the end does not fit
    ],
    ids=["plain", "cut", "changed", "wrong sum"],
)
def test_a_damaged_gzip_file_is_named(tmp_path, damaged):
    path = tmp_path / "images.gz"
    path.write_bytes(damaged)
    with pytest.raises(DataError, match="damaged or truncated gzip file") as raised:
        read_idx(path, IMAGES_MAGIC)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES, [7, 10, 9], r"labels-idx1-ubyte: expected labels from 0 to 9, found 10 at position 1"),
        (IMAGES, [7, 0], r"labels-idx1-ubyte: expected 3 labels, .*images-idx3-ubyte; found 2"),
        (IMAGES[:0], [], r"images-idx3-ubyte: expected images, found a shape of \(0, 4, 5\)"),
        (IMAGES[:, :0], [7, 0, 9], r"images-idx3-ubyte: expected images, found a shape of \(3, 0, 5\)"),
    ],
)
def test_labels_that_do_not_fit_are_named(tmp_path, images, labels, message):
    write_part(tmp_path, "train", images, labels)
    with pytest.raises(DataError, match=message):
        read_pair(*find_idx(tmp_path, "train"))


@pytest.mark.parametrize("absent", ["t10k-labels-idx1-ubyte", "t10k-images-idx3-ubyte"])
def test_a_file_without_its_twin_is_named(tmp_path, absent):
    write_part(tmp_path, "test", IMAGES, LABELS)
    (tmp_path / absent).unlink()
    with pytest.raises(DataError, match=f"{absent} is missing"):
        find_idx(tmp_path, "test")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match="gone: No such file"):
        read_idx(tmp_path / "gone", IMAGES_MAGIC)


SIZES = st.one_of(st.integers(0, 4), st.integers(0, 2**32 - 1))


@given(
    head=st.one_of(
        st.binary(max_size=16),
        st.tuples(SIZES, SIZES, SIZES).map(lambda sizes: WHOLE[:4] + b"".join(n.to_bytes(4, "big") for n in sizes)),
    ),
    tail=st.binary(max_size=100),
    suffix=st.sampled_from(["", ".gz"]),
    compress=st.booleans(),
)
def test_any_bytes_are_read_or_refused_with_a_data_error(tmp_path_factory, head, tail, suffix, compress):
    path = tmp_path_factory.getbasetemp() / f"any-bytes{suffix}"
    path.write_bytes(gzip.compress(head + tail) if compress else head + tail)
    with suppress(DataError):
        assert read_idx(path, IMAGES_MAGIC).tobytes() == (head + tail)[16:]


def test_no_images_of_an_impossible_size_are_refused(tmp_path):
    path = write_idx(tmp_path / "images", WHOLE[:4] + bytes(4) + b"\xff" * 8)  # 0 x 4294967295 x 4294967295
    with pytest.raises(DataError, match="images: "):
        read_idx(path, IMAGES_MAGIC)


PEAK = """
import sys
from pathlib import Path
from digitnet.data.idx import IMAGES_MAGIC, read_idx
from digitnet.errors import DataError
try:
    read_idx(Path(sys.argv[1]), IMAGES_MAGIC)
except DataError as error:
    print(error)
print(int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1_000)
"""


def bomb(shape, blocks):
    """A gzip file of a few kilobytes that unpacks to so many times ten megabytes."""
    head = b"".join(number.to_bytes(4, "big") for number in (IMAGES_MAGIC, *shape))
    return gzip.compress(head) + gzip.compress(bytes(10_000_000), 9) * blocks


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is read from /proc")
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3, 4, 5), "too long: expected 76 bytes for 3x4x5, found more"),
        ((600_000, 28, 28), "truncated: expected 470,400,016 bytes for 600000x28x28, found 200,000,016"),
        ((5_000_000, 28, 28), "5000000x28x28 is too large: the limits are 600,000 images"),
        ((2, 10_000, 10_000), "2x10000x10000 is too large"),
        ((500_000, 40, 40), "500000x40x40 is too large"),
    ],
)
def test_a_bomb_takes_no_memory_beyond_what_its_header_states(tmp_path, shape, message):
    (tmp_path / "images.gz").write_bytes(bomb(shape, 20))
    done = run_python("-c", PEAK, tmp_path / "images.gz")
    assert done.returncode == 0, done.stderr
    said, peak = done.stdout.splitlines()
    assert f"images.gz: {message}" in said
    assert float(peak) < (320 if "truncated" in message else 100)


def test_a_file_beyond_the_limit_is_refused_by_its_size(tmp_path):
    path = write_idx(tmp_path / "images", WHOLE)
    os.truncate(path, 500_000_001)
    with pytest.raises(DataError, match="images: larger than 500,000,000 bytes"):
        read_idx(path, IMAGES_MAGIC)


def test_what_is_read_may_be_written_to(tmp_path):
    images = read_idx(write_idx(tmp_path / "images", WHOLE), IMAGES_MAGIC)
    images[0] = 7  # torch warns of arrays that it may not write to
    assert images.flags.writeable
