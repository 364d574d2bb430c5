"""What several processes do at once in ``concurrency.py``; each writes a file of what it found."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import numpy as np
import numpy.typing as npt
import torch
import torchvision.datasets

from digitnet.checkpoint import Checkpoint, load_checkpoint
from digitnet.cli import app
from digitnet.data import mnist
from digitnet.data.digits import fingerprint
from digitnet.data.idx import Part
from digitnet.data.mnist import load_mnist

SIZES: dict[Part, int] = {"train": 400, "test": 100}  # of the set that stands for MNIST
Bytes = npt.NDArray[np.uint8]

SLOW_S = 0.2  # what each step of its download takes
PATIENCE_S = 60.0


def await_start(folder: Path) -> None:
    """Wait for the others: all begin when there is a file ``go``."""
    (folder / f"ready-{os.getpid()}").touch()
    limit = time.monotonic() + PATIENCE_S
    while not (folder / "go").exists():
        assert time.monotonic() < limit, "nobody said go"
        time.sleep(0.001)


def read_until(folder: Path, path: Path, last: int) -> None:
    """Load a checkpoint again and again while it is replaced, until its last version."""
    await_start(folder)
    seen, reads, faults = {0}, 0, []
    limit = time.monotonic() + PATIENCE_S * 5
    while last not in seen:
        assert time.monotonic() < limit, "the last version did not come"
        try:
            seen.add(version(load_checkpoint(path)))
        except Exception as error:  # whatever a reader may see
            faults.append(f"read {reads + 1}: {type(error).__name__}: {error}")
        reads += 1
    _report(folder, {"reads": reads, "versions": len(seen) - 1, "faults": faults})


def version(checkpoint: Checkpoint) -> int:
    """Return which version a checkpoint is, if all of it is of one: each weight and the step are its number."""
    step = checkpoint.record.step
    for name, tensor in checkpoint.state.items():
        assert bool((tensor == step).all()), f"step {step}, and {name} is of another version"
    return step


def download(folder: Path) -> None:
    """Load MNIST from a cache that is empty at first, by a download that is slow, and not from the network."""
    os.environ["DIGITNET_CACHE_DIR"] = str(folder / "cache")

    class Slow:
        mirrors: tuple[str, ...] = ()

        def __init__(self, root: str, download: bool) -> None:
            assert download
            (folder / f"downloading-{os.getpid()}").touch()
            raw = Path(root) / "MNIST" / "raw"
            raw.mkdir(parents=True)
            for part in SIZES:
                time.sleep(SLOW_S)
                _write_part(raw, part)

    def save_slowly(path: Path, array: Bytes) -> None:
        with path.open("wb") as stream:  # half of it, and then the rest
            np.lib.format.write_array_header_1_0(stream, np.lib.format.header_data_from_array_1_0(array))
            stream.flush()
            time.sleep(SLOW_S / 4)
            stream.write(array.tobytes())

    # The process is for this alone: nothing is put back.
    mock.patch.object(torchvision.datasets, "MNIST", Slow).start()
    mock.patch.object(np, "save", save_slowly).start()
    mock.patch.object(mnist, "_reachable", return_value=True).start()
    mnist.FINGERPRINTS |= {part: expected(part) for part in SIZES}
    await_start(folder)
    digits = load_mnist("train")
    _report(folder, {"fingerprint": fingerprint(digits.images, digits.targets)})


def little(part: Part) -> tuple[Bytes, Bytes]:
    """Return the pixels (N, 28, 28) and labels (N,), both uint8, of the set that stands for MNIST."""
    numbers = np.random.default_rng(SIZES[part])
    pixels = numbers.integers(256, size=(SIZES[part], 28, 28), dtype=np.uint8)
    return pixels, numbers.integers(10, size=SIZES[part], dtype=np.uint8)


def expected(part: Part) -> str:
    """Return the fingerprint of that set."""
    pixels, labels = little(part)
    return fingerprint(torch.from_numpy(pixels)[:, None], torch.from_numpy(labels).long())


def _write_part(folder: Path, part: Part) -> None:
    stem = {"train": "train", "test": "t10k"}[part]
    for kind, array in zip(("images-idx3", "labels-idx1"), little(part), strict=True):
        header = b"".join(number.to_bytes(4, "big") for number in (0x800 + array.ndim, *array.shape))
        (folder / f"{stem}-{kind}-ubyte").write_bytes(header + array.tobytes())


def command(folder: Path, arguments: Sequence[str]) -> None:
    """Run a command of digitnet in a folder; its words go to files there."""
    os.chdir(folder)
    sys.stdout = (folder / f"{os.getpid()}.out").open("w")  # for as long as the process lives
    sys.stderr = (folder / f"{os.getpid()}.err").open("w")
    await_start(folder)
    app(list(arguments), prog_name="digitnet")


def _report(folder: Path, found: dict[str, object]) -> None:
    (folder / f"found-{os.getpid()}.json").write_text(json.dumps(found))
