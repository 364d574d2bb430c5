"""Run folders: what ``train`` writes, and which checkpoint is meant when a person names a run, or nothing."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
import stat
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from digitnet.atomic import REMNANT, remove_remnants, write_atomically
from digitnet.config import RunConfig
from digitnet.errors import CheckpointError, UsageError, brief

RUNS = Path("checkpoints")  # in the current folder
PRETRAINED = ("pretrained-cnn", "pretrained-mlp")
BEST, LAST, CONFIG, METRICS = "best.safetensors", "last.safetensors", "config.toml", "metrics.csv"
CURVES = "curves.png"
WHOLE_BEST = "best-of-whole-epochs.safetensors"  # where a part of an epoch took its place
LOCK = ".lock"
AUTO = "auto"  # what train --resume takes for any run
MAX_CONFIG_BYTES = 16_000
BEGINNING = re.compile(rf"{re.escape(LOCK)}|{re.escape(CONFIG)}|events\.out\.tfevents\..*|\..*{re.escape(REMNANT)}")
EPOCH_NAME = re.compile(r"epoch-(\d{3,})\.safetensors")


@dataclass(frozen=True, kw_only=True)
class Found:
    """A checkpoint file, and what to call it."""

    path: Path
    name: str
    """For people, such as ``run checkpoints/cnn-mnist-1``."""


def create_run_folder(output: Path, name: str | None, stem: str, *, may_exist: bool = False) -> Path:
    """Make a new, empty run folder; no run ever overwrites another.

    Args:
        output: The folder of runs.
        name: The run's name; None takes the stem and the first free number.
        stem: Such as ``cnn-mnist``.
        may_exist: Whether a folder of that name may be there in which a run was killed before it began.

    Raises:
        UsageError: A run of this name is there already, or the name is none for a folder.
        OSError: The folder cannot be made.
    """
    check_run_name(name)
    output.mkdir(parents=True, exist_ok=True)
    if name is not None:
        folder = output / name
        try:
            folder.mkdir()
        except FileExistsError as error:
            if not may_exist or _holds_more_than_a_beginning(folder):
                raise UsageError(f"{folder} exists already; choose another --name") from error
        return folder
    number = 1
    while True:  # until a number is free: another run may take one while we look
        with contextlib.suppress(FileExistsError):
            (folder := output / f"{stem}-{number}").mkdir()
            return folder
        number += 1


def _holds_more_than_a_beginning(folder: Path) -> bool:
    """Say whether something is there that a run does not make before its first state, and that may be a person's."""
    return not folder.is_dir() or not all(BEGINNING.fullmatch(path.name) for path in list(folder.iterdir()))


@contextlib.contextmanager
def locked(folder: Path, work: str = "trained") -> Iterator[None]:
    """Keep other processes out of a folder, which is being trained, say, and clear what a killed one left half written.

    Raises:
        UsageError: Another one works in it.
    """
    with _lock(folder, work):
        remove_remnants(folder)
        yield


def check_not_trained(folder: Path) -> None:
    """Refuse a run folder in which a process trains just now.

    Raises:
        UsageError: One does.
    """
    with contextlib.suppress(OSError), _lock(folder):  # a folder of somebody else's cannot be locked
        pass


def _lock(folder: Path, work: str = "trained") -> contextlib.AbstractContextManager[object]:
    from filelock import FileLock, Timeout

    try:
        return FileLock(folder / LOCK).acquire(timeout=0)
    except Timeout:
        raise UsageError(f"{folder} is being {work} by another process; wait for it, or stop it") from None
    except NotImplementedError:  # a file system without locks
        return contextlib.nullcontext()


def check_run_name(name: str | None) -> None:
    """Refuse a name that is none for a folder.

    Raises:
        UsageError: It is not.
    """
    if name is not None and (Path(name).name != name or name in ("", "..", AUTO, *PRETRAINED)):
        raise UsageError(f"{name!r} is no name for a run; to put it elsewhere, use --output")


def epoch_name(epoch: int) -> str:
    """Return the name of the file in which ``train --keep-epochs`` keeps an epoch's network."""
    return f"epoch-{epoch:03}.safetensors"


def find_run(reference: str | Path, output: Path = RUNS) -> Path:
    """Find a run's folder by its path or its name.

    Args:
        reference: A path, or the name of a run in the folder of runs.
        output: The folder of runs.

    Raises:
        CheckpointError: There is no such run.
    """
    folder = next((path for path in (Path(reference), output / reference) if path.is_dir()), None)
    if folder is None and str(reference) in PRETRAINED:
        raise CheckpointError(f"{reference} ships as a network alone, without the run that it comes from")
    if folder is None and Path(reference).is_file():
        raise CheckpointError(f"{reference} is a file; name the folder of the run, such as {Path(reference).parent}")
    if folder is None or not str(reference):
        raise CheckpointError(f'no run at {str(reference) or "an empty name"}; make one by "digitnet train"')
    return folder


def find_epochs(reference: str | Path) -> tuple[Path, list[Path]]:
    """Find a run by its folder or its name, and its networks epoch by epoch.

    Returns:
        The run folder, and the files in the order of the epochs.

    Raises:
        CheckpointError: There is no such run, or its epochs were not kept.
    """
    folder = find_run(reference)
    numbered = {int(name[1]): path for path in folder.iterdir() if (name := EPOCH_NAME.fullmatch(path.name))}
    if not numbered:
        raise CheckpointError(
            f"{folder} holds no network of single epochs: train with --keep-epochs, and each epoch's is kept"
        )
    return folder, [path for _, path in sorted(numbered.items())]


def write_metrics(folder: Path, rows: Iterable[dict[str, float]]) -> None:
    """Write ``metrics.csv`` anew, with a line for each epoch so far."""
    rows = list(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(folder / METRICS, text.getvalue().encode())


def write_config(folder: Path, config: RunConfig) -> None:
    """Write ``config.toml``, which ``train --config`` reads."""
    lines = ["# What this run was made of. To repeat it: digitnet train --config FILE"]
    for name, table in config.to_dict().items():
        lines += ["", f"[{name}]"]
        lines += [f"{key} = {_toml(value)}" for key, value in table.items()]
    write_atomically(folder / CONFIG, ("\n".join(lines) + "\n").encode(errors="backslashreplace"))


def _toml(value: object) -> str:
    """Write a value; JSON's are TOML's too, but for DEL and for letters that JSON writes as two escapes."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def read_config(path: Path) -> RunConfig:
    """Read a configuration file such as a run folder's ``config.toml``.

    Raises:
        UsageError: There is no such file, or it does not describe a run.
    """
    try:
        return RunConfig.from_dict(tomllib.loads(_read_text(path)))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise UsageError(f"{path}: {brief(error)}") from error


def _read_text(path: Path) -> str:
    """Read a configuration file, which is short: TOML takes a second for 16 KB of dots, and minutes for a megabyte."""
    if not stat.S_ISREG(path.stat().st_mode):  # a named pipe would wait for ever
        raise UsageError(f"{path} is not an ordinary file")
    with path.open("rb") as stream:
        data = stream.read(MAX_CONFIG_BYTES + 1)
    if len(data) > MAX_CONFIG_BYTES:
        raise UsageError(f"{path} is no configuration file: it is larger than {MAX_CONFIG_BYTES:,} bytes")
    return data.decode("utf-8")


def find_checkpoint(reference: str | Path | None = None) -> Found:
    """Find the checkpoint that is meant.

    Args:
        reference: A file, a run folder, the name of a run in ``checkpoints/``, ``pretrained-cnn`` or
            ``pretrained-mlp``. None is the newest run in ``checkpoints/``, else ``pretrained-cnn``.

    Raises:
        CheckpointError: There is none.
    """
    if reference is None:
        return _newest_run() or _pretrained(PRETRAINED[0])
    if str(reference) in PRETRAINED:
        return _pretrained(str(reference))
    if not str(reference):  # a shell's unset variable; as a path it would be the folder that we are in
        raise CheckpointError("the name of the checkpoint is empty")
    places = (Path(reference), RUNS / reference)
    for path in places:
        if (path / BEST).is_file():
            return Found(path=path / BEST, name=f"run {path}")
        if path.exists() and not path.is_dir():
            return Found(path=path, name=str(path))
    if folder := next((path for path in places if path.is_dir()), None):
        raise CheckpointError(f"{folder} holds no {BEST}: it is no run folder, or its first epoch did not end")
    raise CheckpointError(f'no checkpoint at {reference}; run "digitnet train" first, or leave out --checkpoint')


def _newest_run() -> Found | None:
    best = [(path.stat().st_mtime_ns, path) for path in RUNS.glob(f"*/{BEST}")]
    return Found(path=max(best)[1], name=f"run {max(best)[1].parent}") if best else None


def _pretrained(name: str) -> Found:
    """Find a network that ships: inside the installed package, or in the source tree that it runs from."""
    package = Path(__file__).parent
    for folder in (package / "pretrained", package.parent / "checkpoints"):
        if (path := folder / f"{name}.safetensors").is_file():
            return Found(path=path, name=f"{name}, which ships with digitnet")
    raise CheckpointError(f'{name} is not installed with this digitnet; run "digitnet train" first')
