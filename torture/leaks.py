"""A million predictions in one process: memory stays flat, and no file and no thread is left behind."""

from __future__ import annotations

import gc
import random
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

import digitnet
from digitnet.data.strokes import draw_strokes
from digitnet.errors import PictureError
from digitnet.predictor import Classifier
from digitnet.sources import Unreadable
from torture.outcome import Outcome

NETWORK = "pretrained-mlp"  # the preparation of a picture is the same for all, and takes most of the time
BATCH = 250
_ODD = 20  # pictures of a batch that are turned away
WARM_UP = 0.05  # of all trials
LIMIT_MB = 50.0
FORMATS = ("png", "jpg", "bmp", "gif", "webp", "tif", "pgm")

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class State:
    """What the process holds."""

    resident_mb: float
    handles: int
    threads: int


def predictions(trials: int, seed: int) -> Outcome:
    """Predict in a process of its own, where nothing is left of other ordeals."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(_predict, trials, seed).result()


def _predict(trials: int, seed: int) -> Outcome:
    started = time.monotonic()
    classifier = digitnet.load(NETWORK)
    states: list[State] = []
    failures: list[str] = []
    done = 0
    with tempfile.TemporaryDirectory(prefix="digitnet-torture-") as folder:
        rounds = _rounds(classifier, Path(folder), seed)
        while done < trials:
            before = done
            try:
                done += next(rounds)
            except Exception as error:  # the rest goes on: one bad picture is one failure
                failures.append(f"after {done:,} predictions: {type(error).__name__}: {error}")
                break
            if done >= WARM_UP * trials and done * 100 // trials > before * 100 // trials:
                states.append(look())
    elapsed_s = time.monotonic() - started
    failures += list(faults(states))
    growth_mb = max(state.resident_mb for state in states) - states[0].resident_mb if states else 0.0
    figures = {"growth_mb": round(growth_mb, 1), "images_per_s": round(done / elapsed_s)}
    if states:
        figures |= {"resident_mb": round(states[-1].resident_mb), "handles": states[-1].handles}
    return Outcome(name="predictions", trials=done, failures=tuple(failures), figures=figures, elapsed_s=elapsed_s)


def faults(states: list[State]) -> Iterator[str]:
    """Name what grew between the first state, after the warm-up, and the later ones."""
    if len(states) < 2:
        yield "too few trials to tell whether anything grows"
        return
    first = states[0]
    highest = max(state.resident_mb for state in states)
    if highest - first.resident_mb > LIMIT_MB:
        yield f"memory grew from {first.resident_mb:.1f} to {highest:.1f} MB"
    if states[-1].handles != first.handles:
        yield f"open files: {first.handles} at first, {states[-1].handles} in the end"
    if states[-1].threads != first.threads:
        yield f"threads: {first.threads} at first, {states[-1].threads} in the end"


def look() -> State:
    """Return what this process holds now."""
    gc.collect()  # what waits to be freed is no leak
    return State(
        resident_mb=_resident_mb(),
        handles=_entries(Path("/dev/fd")),
        threads=threading.active_count() + _native_threads(),
    )


def _resident_mb() -> float:
    """Return the memory in use; where the system does not say, the highest so far."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1_000
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def _native_threads() -> int:
    task = Path("/proc/self/task")
    return _entries(task) if task.is_dir() else 0


def _entries(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir())


def _rounds(classifier: Classifier, folder: Path, seed: int) -> Iterator[int]:
    """Predict for ever, a batch at a time; yield how many pictures each had."""
    chance = random.Random(seed)
    digits = draw_strokes(2_000, seed=seed)[0][:, 0].numpy()
    files = write_files(folder, digits)
    paths = [*files, *write_broken(folder)]
    while True:
        for _ in range(15):
            yield _all(classifier.predict(_some(digits, chance)))
        yield _all(classifier.predict(_some(digits, chance).astype(np.float32) / 255))
        yield _all(classifier.predict([Image.fromarray(255 - one) for one in _some(digits, chance)]))
        yield _all(classifier.predict([*_turned_away(chance), *_some(digits, chance)[_ODD:]]))
        yield _errors(classifier, folder, digits)
        answers = list(classifier.predict_files(chance.choices(paths, k=BATCH)))
        unread = [answer for answer in answers if isinstance(answer, Unreadable)]
        assert all(Path(answer.path) not in files for answer in unread), unread
        yield len(answers)


def _all(answers: object) -> int:
    assert isinstance(answers, list)
    assert len(answers) == BATCH, len(answers)
    return BATCH


def _some(digits: Bytes, chance: random.Random) -> Bytes:
    return digits[chance.sample(range(len(digits)), BATCH)]


def _turned_away(chance: random.Random) -> Iterator[Bytes]:
    """Make pictures that are no digits: blank ones, noise, and two digits of a larger size side by side."""
    noise = np.random.default_rng(chance.getrandbits(32))
    for _ in range(_ODD // 2):
        yield np.full((28, 28), chance.randrange(256), np.uint8)
        yield noise.integers(256, size=(chance.randrange(1, 90), chance.randrange(1, 90), 3), dtype=np.uint8)


def _errors(classifier: Classifier, folder: Path, digits: Bytes) -> int:
    """Ask for what must be refused."""
    refused: list[tuple[Any, type[Exception]]] = [
        (folder / "missing.png", PictureError),
        (folder / "cut.png", PictureError),
        (folder, PictureError),
        ([*digits[:3], np.full((28, 28), np.nan)], ValueError),
        (digits[0].astype(np.int64) - 1_000, ValueError),
        (np.zeros((2, 2, 2, 2, 2)), ValueError),
        ([None], TypeError),
    ]
    for pictures, kind in refused:
        try:
            classifier.predict(pictures)
        except kind:
            continue
        raise AssertionError(f"{pictures!r} was read")
    return len(refused)


def write_files(folder: Path, digits: Bytes) -> set[Path]:
    """Save digits as files of several formats, small as they are and enlarged, dark on light."""
    paths = set()
    for index, name in enumerate(FORMATS * 6):
        picture = Image.fromarray(255 - digits[index])
        path = folder / f"{index}.{name}"
        (picture.resize((90, 120)) if index % 2 else picture).save(path)
        paths.add(path)
    return paths


def write_broken(folder: Path) -> list[Path]:
    """Write files that cannot be read, and name one that is not there."""
    whole = next(iter(sorted(folder.glob("*.png")))).read_bytes()
    contents = {
        "cut.png": whole[: len(whole) // 2],
        "empty.png": b"",
        "text.png": b"no picture",
        "cut.gif": b"GIF89a\1",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [*(folder / name for name in contents), folder / "missing.png", folder]
