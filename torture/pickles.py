"""Hostile pickles under the names of all that digitnet reads, given to its real commands: refused, and never run."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer

from digitnet.cli import app
from digitnet.data import mnist
from torture import samples
from torture.watch import Files, Ordeal

MARKER = "sprung"  # in the folder that a trial is in
GOOD = "good.safetensors"


class ByOpen:
    """What makes a file when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Let an unpickler call open()."""
        return open, (MARKER, "w")


class BySystem:
    """What makes a file by a shell when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Let an unpickler call os.system()."""
        return os.system, (f"touch {MARKER}",)


def _zipped(trap: object) -> bytes:
    stream = io.BytesIO()
    torch.save({"state": trap}, stream)
    return stream.getvalue()


def _old_torch(trap: object) -> bytes:
    stream = io.BytesIO()
    torch.save({"state": trap}, stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()


def _npy(trap: object) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([trap], dtype=object), allow_pickle=True)
    return stream.getvalue()


def _after_length(trap: object) -> bytes:
    """Put a pickle where a safetensors file has its header."""
    data = pickle.dumps({"{": trap})
    return len(data).to_bytes(8, "little") + b"{" + data


@cache
def hostile() -> tuple[bytes, ...]:
    """Make the pickles: of every protocol, bare, in a zip as torch.save makes it, in .npy, behind a length."""
    traps = (ByOpen(), BySystem())
    bare = tuple(pickle.dumps(trap, protocol) for trap in traps for protocol in range(6))
    return bare + tuple(wrap(trap) for trap in traps for wrap in (_zipped, _old_torch, _npy, _after_length))


def _checkpoint_name(rng: random.Random) -> str:
    return f"model.{rng.choice(('safetensors', 'pt', 'pth', 'png', 'npy', 'pkl', 'bin', 'zip', 'ckpt'))}"


def _as_checkpoint(*command: str) -> Callable[[random.Random, bytes], tuple[Files, list[str]]]:
    def case(rng: random.Random, data: bytes) -> tuple[Files, list[str]]:
        name = _checkpoint_name(rng)
        return {name: data, "five.png": samples.pictures("PNG")[1]}, [name if c == "NAME" else c for c in command]

    return case


def _as_picture(rng: random.Random, data: bytes) -> tuple[Files, list[str]]:
    name = f"five.{rng.choice(('png', 'jpg', 'tif', 'webp', 'npy', 'pt'))}"
    number = ["--number"] if rng.random() < 0.3 else []
    return {name: data}, ["predict", name, "--checkpoint", GOOD, *number]


def _as_config(_: random.Random, data: bytes) -> tuple[Files, list[str]]:
    return {"config.toml": data}, ["train", "--config", "config.toml", "--dataset", "strokes"]


def _as_labelled(_: random.Random, data: bytes) -> tuple[Files, list[str]]:
    return {"own/1.png": data, "own/2.png": data}, ["adapt", "own", "--checkpoint", GOOD]


def _as_data_set(rng: random.Random, data: bytes) -> tuple[Files, list[str]]:
    files = rng.choice((
        {"set/3/a.png": data, "set/4/b.png": data},
        {"set/t10k-images-idx3-ubyte": data, "set/t10k-labels-idx1-ubyte": data},
        {"set/t10k-images-idx3-ubyte.gz": data, "set/t10k-labels-idx1-ubyte.gz": data},
    ))  # fmt: skip
    return files, ["eval", "--dataset", "set", "--checkpoint", GOOD]


def _as_cache(_: random.Random, data: bytes) -> tuple[Files, list[str]]:
    """Put pickles where decoded MNIST is kept; ``attempt`` moves them to where it is looked for."""
    images, labels = samples.idx_pairs()[0]
    info = b'{"train": {"name": "x", "fingerprint": "x"}, "test": {"name": "x", "fingerprint": "x"}}'
    cached = {f"cached/{part}-{what}.npy": data for part in ("train", "test") for what in ("images", "targets")}
    raw = {f"mnist/{stem}-images-idx3-ubyte": images for stem in ("train", "t10k")}
    raw |= {f"mnist/{stem}-labels-idx1-ubyte": labels for stem in ("train", "t10k")}
    return {**cached, "cached/info.json": info, **raw}, [
        "eval", "--dataset", "mnist", "--data-dir", "mnist", "--checkpoint", GOOD,
    ]  # fmt: skip


CASES: tuple[Callable[[random.Random, bytes], tuple[Files, list[str]]], ...] = (
    _as_checkpoint("predict", "five.png", "--checkpoint", "NAME"),
    _as_checkpoint("eval", "--dataset", "strokes", "--checkpoint", "NAME"),
    _as_checkpoint("eval", "--dataset", "strokes", "--checkpoint", GOOD, "--against", "NAME"),
    _as_checkpoint("info", "NAME"),
    _as_checkpoint("adapt", ".", "--checkpoint", "NAME"),
    _as_checkpoint("explain", "image", "five.png", "--checkpoint", "NAME"),
    _as_picture,
    _as_config,
    _as_labelled,
    _as_data_set,
    _as_cache,
)


def make(rng: random.Random) -> Files:
    """Make a pickle under some name, beside what the command needs, and the command, a word a line."""
    files, command = rng.choice(CASES)(rng, rng.choice(hostile()))
    return {**files, GOOD: samples.checkpoints()[0], "command": "\n".join(command).encode()}


def attempt(folder: Path) -> None:
    """Run the command, which has to end with an error in a line."""
    os.environ["DIGITNET_CACHE_DIR"] = str(folder / "cache")
    os.chdir(folder)
    if Path("cached").is_dir():
        Path("cache").mkdir()
        Path("cached").rename(Path("cache") / f"mnist-{mnist._key(mnist._find_files(Path('mnist')))}")
    code, output = _run(Path("command").read_text().split("\n"))
    assert not Path(MARKER).exists(), "the pickle was run"
    assert code not in (0, None), f"ended well: {output[:300]}"
    assert "Traceback" not in output, output[-300:]
    assert "error: " in output, output[:300]


def _run(arguments: list[str]) -> tuple[Any, str]:
    """Run the command in this process; return its exit code and what it said on both streams."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            _command()(arguments, prog_name="digitnet")
        except SystemExit as end:
            return end.code, said.getvalue()
    return None, said.getvalue()


@cache
def _command() -> Callable[..., Any]:
    """Build the command once: its options take longer than refusing a file."""
    return typer.main.get_command(app)


ORDEAL = Ordeal(name="pickles", make=make, attempt=attempt)
