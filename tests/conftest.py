"""What the tests share: a place of their own without a network, digits in files, and one small trained network."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

# The same examples each time: a change is judged by what it changes. --hypothesis-profile=default looks for new ones.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

ROOT = Path(__file__).resolve().parents[1]
DEAD_PROXY = "http://127.0.0.1:9"  # the discard port: refused at once
PERSONAL = ("DIGITNET_DATA_DIR", "DIGITNET_PROG", "XDG_CACHE_HOME", "FORCE_COLOR", "TTY_COMPATIBLE", "COLUMNS")


@pytest.fixture(scope="session")
def fonts_folder(tmp_path_factory):
    """Where matplotlib keeps what it knows of the machine's fonts: to look through them takes a second each time."""
    return tmp_path_factory.mktemp("fonts")


@pytest.fixture(autouse=True)
def isolated(tmp_path_factory, fonts_folder, monkeypatch):
    """Give each test an empty folder to be in, its own home and cache, no network and none of the user's settings.

    Commands that a test starts inherit all of this. Servers on this machine can be reached.
    """
    place = tmp_path_factory.mktemp("place")
    for name in PERSONAL:
        monkeypatch.delenv(name, raising=False)
    for name, folder in (("HOME", "home"), ("DIGITNET_CACHE_DIR", "cache"), ("PYTHONPATH", None)):
        monkeypatch.setenv(name, str(place / folder if folder else ROOT))
    monkeypatch.setenv("MPLCONFIGDIR", str(fonts_folder))
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, DEAD_PROXY)
        monkeypatch.setenv(name.upper(), DEAD_PROXY)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    (place / "cwd").mkdir()
    monkeypatch.chdir(place / "cwd")


@pytest.fixture
def cache_folder():
    """Where this test's decoded data sets go."""
    return Path(os.environ["DIGITNET_CACHE_DIR"])


@pytest.fixture(scope="session")
def mnist_dir():
    """The folder of the real MNIST, where there is one."""
    folder = Path(os.environ.get("DIGITNET_TEST_MNIST") or ROOT.parent / "shared" / "mnist")
    if not folder.is_dir():
        pytest.skip("the real MNIST is not here; name its folder by DIGITNET_TEST_MNIST")
    return folder


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory):
    """The folder of a finished run: a small MLP, trained for three epochs on 900 strokes."""
    from digitnet.data.load import load_training
    from digitnet.recipes import build_config
    from digitnet.training import train_run

    settings = {"dataset": "strokes", "train_size": 900, "hidden_sizes": (32,), "batch_size": 32, "device": "cpu"}
    config = build_config(kind="mlp", preset="fast", overrides=settings)
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    folder.mkdir()
    for _ in train_run(config, *load_training("strokes", size=900), folder):
        pass
    return folder


@pytest.fixture(scope="session")
def classifier(run_folder):
    """The classifier of that run."""
    import digitnet

    return digitnet.load(run_folder)


@pytest.fixture(scope="session")
def digit_files(tmp_path_factory):
    """Twelve PNG files, each with a digit that is built in."""
    from digitnet.data.strokes import draw_strokes

    folder = tmp_path_factory.mktemp("digits")
    images, targets = draw_strokes(12, seed=7)
    pairs = enumerate(zip(images, targets.tolist(), strict=True))
    return [save_png(folder / f"{i:02}-is-{target}.png", image[0]) for i, (image, target) in pairs]


def save_png(path, pixels):
    """Save (28, 28) uint8 pixels, an array or a tensor, as a picture; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels)).save(path)
    return path


def idx_bytes(array):
    """Put a uint8 array into the IDX format."""
    header = (0x800 + array.ndim, *array.shape)
    return b"".join(number.to_bytes(4, "big") for number in header) + array.tobytes()


def write_idx(path, content):
    """Write an array, or bytes as they are, to a file in the IDX format; compressed if its name ends in .gz."""
    data = content if isinstance(content, bytes) else idx_bytes(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data, 1) if path.suffix == ".gz" else data)
    return path


def write_part(folder, part, images, labels, suffix=""):
    """Write one part's two IDX files under MNIST's names; part is train or test."""
    stem = {"train": "train", "test": "t10k"}[part]
    write_idx(folder / f"{stem}-images-idx3-ubyte{suffix}", np.asarray(images, dtype=np.uint8))
    write_idx(folder / f"{stem}-labels-idx1-ubyte{suffix}", np.asarray(labels, dtype=np.uint8))


def run_python(*arguments, **options):
    """Run Python in a process of its own and return how it ended, with its output as text."""
    options = {"capture_output": True, "text": True, "timeout": 120} | options
    return subprocess.run([sys.executable, *map(str, arguments)], check=False, **options)


def digitnet_command(*arguments, **options):
    """Run the real command in a process of its own, whose result is as run_python's."""
    return run_python("-m", "digitnet", *arguments, **options)
