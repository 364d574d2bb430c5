"""MNIST: from a folder, else downloaded by torchvision; decoded once and cached.

Source: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition" (1998).
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import socket
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import torch

from digitnet.data.cache import Parts, cached
from digitnet.data.digits import Digits, fingerprint
from digitnet.data.idx import Part, find_idx, read_pair
from digitnet.errors import DataError

FINGERPRINTS: dict[Part, str] = {"train": "e890a7ca84498524", "test": "112b60a1d684b193"}
PROBE_S = 4.0  # a mirror that has not answered by then is taken for dead
STALL_S = 2.5  # a download that brings nothing for so long is given up; torchvision tries again three times

ADVICE = (
    "To get it: connect this machine to a network and run the command again; or put the four IDX files "
    "(train-images-idx3-ubyte and so on, plain or .gz) into a folder and name it by --data-dir DIR or DIGITNET_DATA_DIR"
)


class MnistMissingError(DataError):
    """There is no MNIST on this machine, and none could be downloaded."""


def load_mnist(part: Part, data_dir: Path | None = None) -> Digits:
    """Load a part of MNIST: 60,000 training or 10,000 test images.

    Args:
        part: train or test.
        data_dir: The folder of the four IDX files; None downloads them on the first call.

    Raises:
        MnistMissingError: There are no files and no network.
        DataError: A file is damaged, or the digits are not MNIST's.
    """
    if data_dir is None:
        return cached("mnist", part, _download)
    files = _find_files(data_dir)
    return cached(f"mnist-{_key(files)}", part, lambda: _read_files(files))


def read_mnist(folder: Path) -> Parts:
    """Read MNIST's four files from a folder, and neither read nor write the cache.

    Raises:
        DataError: One is missing or damaged, or the digits are not MNIST's.
    """
    return _read_files(_find_files(folder))


Files = dict[Part, tuple[Path, Path]]


def _find_files(folder: Path) -> Files:
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder to read MNIST from")
    train, test = find_idx(folder, "train"), find_idx(folder, "test")
    if train is None or test is None:
        stem = "t10k" if train else "train"
        raise DataError(f"{folder}: expected MNIST's four IDX files, and {stem}-images-idx3-ubyte(.gz) is not there")
    return {"train": train, "test": test}


def _key(files: Files) -> str:
    """Name the files by path, size and time, so that a changed file is read anew."""
    states = [(str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns) for pair in files.values() for p in pair]
    return hashlib.sha256(repr(states).encode()).hexdigest()[:16]


def _read_files(files: Files) -> Parts:
    return {part: _read_part(part, *pair) for part, pair in files.items()}


def _read_part(part: Part, images_path: Path, labels_path: Path) -> Digits:
    images, labels = read_pair(images_path, labels_path)
    targets = torch.from_numpy(labels.astype("int64"))
    pixels = torch.from_numpy(images)[:, None]
    found = fingerprint(pixels, targets)
    if found != FINGERPRINTS[part]:
        raise DataError(
            f"{images_path} and {labels_path.name} hold {len(images):,} digits that are not MNIST's: expected the "
            f"fingerprint {FINGERPRINTS[part]}, found {found}; to use other digits, give their folder as --dataset"
        )
    return Digits(name="mnist", images=pixels, targets=targets, fingerprint=found)


def _download() -> Parts:
    from torchvision.datasets import MNIST

    if not _reachable(MNIST.mirrors):
        raise MnistMissingError(f"MNIST is not on this machine and cannot be downloaded: no mirror answers. {ADVICE}")
    with tempfile.TemporaryDirectory(prefix="digitnet-") as folder, _stall_timeout():
        try:
            with contextlib.redirect_stdout(sys.stderr):  # where torchvision writes its progress differs by version
                MNIST(folder, download=True)
        except (OSError, RuntimeError, http.client.HTTPException) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            raise MnistMissingError(f"MNIST could not be downloaded: {reason}. {ADVICE}") from error
        return read_mnist(Path(folder))


def _reachable(mirrors: list[str]) -> bool:
    """Ask all mirrors at once, in threads that are left behind: a name server can hang for longer than any timeout."""
    answered = threading.Event()
    left = threading.Semaphore(0)

    def probe(mirror: str) -> None:
        request = urllib.request.Request(f"{mirror}train-labels-idx1-ubyte.gz", method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=PROBE_S):
                answered.set()
        except (OSError, http.client.HTTPException):  # the latter: it does not speak HTTP
            pass
        left.release()

    for mirror in mirrors:
        threading.Thread(target=probe, args=(mirror,), daemon=True).start()
    for _ in mirrors:
        if not left.acquire(timeout=PROBE_S) or answered.is_set():
            break
    return answered.is_set()


@contextlib.contextmanager
def _stall_timeout() -> Iterator[None]:
    """Give torchvision's downloads a timeout; it sets none itself."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALL_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
