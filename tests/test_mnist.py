"""MNIST is found, checked, downloaded once and cached; without files and network it is missed quickly and plainly."""

import http.client
import os
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import torch
import torchvision.datasets
from conftest import run_python, write_part

from digitnet.data import mnist
from digitnet.data.digits import fingerprint
from digitnet.data.mnist import MnistMissingError, load_mnist
from digitnet.errors import DataError

BOTH_WAYS = ("connect this machine to a network", "--data-dir DIR or DIGITNET_DATA_DIR")


class Little:
    """A data set of a few random digits that stands for MNIST."""

    def __init__(self, monkeypatch, seed=0):
        random = np.random.default_rng(seed)
        self.images = {p: random.integers(256, size=(n, 28, 28), dtype=np.uint8) for p, n in SIZES.items()}
        self.labels = {p: random.integers(10, size=n, dtype=np.uint8) for p, n in SIZES.items()}
        for part, images in self.images.items():
            pair = torch.from_numpy(images)[:, None], torch.from_numpy(self.labels[part]).long()
            monkeypatch.setitem(mnist.FINGERPRINTS, part, fingerprint(*pair))

    def write(self, folder, suffix=""):
        for part in SIZES:
            write_part(folder, part, self.images[part], self.labels[part], suffix)
        return folder

    def assert_is(self, digits, part):
        assert digits.name == "mnist"
        assert digits.fingerprint == mnist.FINGERPRINTS[part]
        assert digits.targets.dtype == torch.int64
        assert np.array_equal(digits.images.numpy(), self.images[part][:, None])
        assert np.array_equal(digits.targets.numpy(), self.labels[part])


SIZES = {"train": 40, "test": 15}


@pytest.fixture
def little(monkeypatch):
    return Little(monkeypatch)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("place", [".", "MNIST/raw"])
def test_the_four_files_are_read_from_a_folder(tmp_path, little, place, suffix):
    little.write(tmp_path / place, suffix)
    for _ in range(2):  # decoded, then from the cache
        for part in SIZES:
            little.assert_is(load_mnist(part, tmp_path), part)


def test_a_file_that_changed_is_read_anew(tmp_path, little, monkeypatch):
    load_mnist("train", little.write(tmp_path))
    other = Little(monkeypatch, seed=1)
    other.write(tmp_path)
    labels = tmp_path / "train-labels-idx1-ubyte"
    os.utime(labels, ns=(0, labels.stat().st_mtime_ns + 1_000_000))  # of the same size, and in the same tick
    other.assert_is(load_mnist("train", tmp_path), "train")


def test_digits_that_are_not_mnists_are_refused(tmp_path, little):
    little.labels["train"][0] = (little.labels["train"][0] + 1) % 10
    with pytest.raises(DataError, match=r"hold 40 digits that are not MNIST's.*give their folder as --dataset"):
        load_mnist("train", little.write(tmp_path))


def test_an_incomplete_folder_says_what_is_not_there(tmp_path, little):
    little.write(tmp_path)
    for path in tmp_path.glob("t10k*"):
        path.unlink()
    with pytest.raises(DataError, match=r"four IDX files.*t10k-images-idx3-ubyte\(.gz\) is not there"):
        load_mnist("train", tmp_path)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(DataError, match="gone: there is no such folder") as raised:
        load_mnist("train", tmp_path / "gone")
    assert not isinstance(raised.value, MnistMissingError)  # a wrong name is no reason to train on something else


@pytest.fixture
def downloads(little, monkeypatch, tmp_path):
    """Let torchvision's MNIST write the little set, and list its calls."""
    calls = []

    class FakeMNIST:
        mirrors = ("http://127.0.0.1:9/",)

        def __init__(self, root, download):
            assert download
            calls.append(Path(root))
            little.write(Path(root) / "MNIST" / "raw", ".gz")

    monkeypatch.setattr(torchvision.datasets, "MNIST", FakeMNIST)
    monkeypatch.setattr(mnist, "_reachable", lambda mirrors: mirrors == FakeMNIST.mirrors)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    return calls


def test_it_is_downloaded_once_and_the_archives_go(little, downloads, cache_folder):
    for part in ("test", "train", "test"):
        little.assert_is(load_mnist(part), part)
    assert len(downloads) == 1
    assert not downloads[0].exists()
    assert sorted(path.name for path in cache_folder.iterdir() if path.is_dir()) == ["mnist"]


@pytest.mark.usefixtures("downloads")
def test_a_later_start_does_not_import_torchvision():
    load_mnist("test")
    code = (
        "import sys, digitnet.data.load as m; print(len(m.load_digits('mnist', 'test')), 'torchvision' in sys.modules)"
    )
    assert run_python("-c", code).stdout == "15 False\n"


@pytest.mark.parametrize("error", [RuntimeError("Error downloading\nTried it: no"), TimeoutError("timed out")])
@pytest.mark.usefixtures("downloads")
def test_a_download_that_breaks_off_names_both_ways(cache_folder, tmp_path, monkeypatch, error):
    def break_off(root, **_):
        (Path(root) / "half").touch()
        raise error

    monkeypatch.setattr(torchvision.datasets.MNIST, "__init__", lambda _, root, **options: break_off(root, **options))
    with pytest.raises(MnistMissingError, match=str(error).splitlines()[-1]) as raised:
        load_mnist("train")
    assert all(way in str(raised.value) for way in BOTH_WAYS)
    assert "\n" not in str(raised.value)
    assert not list((tmp_path / "temporary").iterdir())
    assert {path.name for path in cache_folder.iterdir()} <= {"mnist.lock"}
    assert socket.getdefaulttimeout() is None


def missed():
    """Load MNIST where it cannot be had; return the seconds that it took to say so."""
    started = time.monotonic()
    with pytest.raises(MnistMissingError) as raised:
        load_mnist("train")
    assert all(way in str(raised.value) for way in BOTH_WAYS)
    return time.monotonic() - started


def test_a_network_that_refuses_is_noticed_at_once():
    assert missed() < 3


def test_a_network_that_is_silent_costs_less_than_ten_seconds(monkeypatch):
    with ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        mirrors = [f"http://127.0.0.1:{server.getsockname()[1]}/" for server in servers]
        monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", mirrors)
        assert missed() < 10


def test_a_name_server_that_hangs_is_left_behind(monkeypatch):
    monkeypatch.setattr(mnist, "PROBE_S", 0.2)
    released = Event()

    def hang(*_, **__):
        released.wait(30)
        raise OSError

    monkeypatch.setattr(mnist.urllib.request, "urlopen", hang)
    try:
        assert missed() < 5
    finally:
        released.set()


def test_a_mirror_that_talks_nonsense_counts_as_dead(monkeypatch):
    def answer(*_, **__):
        raise http.client.BadStatusLine("SSH-2.0-OpenSSH_9.2")

    monkeypatch.setattr(mnist.urllib.request, "urlopen", answer)
    assert missed() < 3


def test_the_real_mnist_is_read_and_then_read_in_milliseconds(mnist_dir, capsys):
    assert [len(load_mnist(part, mnist_dir)) for part in ("train", "test")] == [60_000, 10_000]
    times = []
    for _ in range(5):
        started = time.perf_counter()
        load_mnist("train", mnist_dir)
        times.append(time.perf_counter() - started)
    with capsys.disabled():
        print(f"\n[MNIST's 60,000 images from the cache in {min(times) * 1000:.1f} ms] ", end="")  # noqa: T201
    assert min(times) < 0.2
