"""The folder of a bulk prediction: what it is made of, its parts with their counts, and the summary of all.

A part is ``part-000012-0a1b2c3d.jsonl``: the answers of unit 12, a line each. ``part-000012-0a1b2c3d.json``, which is
written after it, holds its counts, and says that the unit is done.
"""

from __future__ import annotations

import json
import re
from contextlib import AbstractContextManager
from itertools import zip_longest
from pathlib import Path
from typing import Any

from digitnet.atomic import REMNANT, Draft, drafting, write_atomically
from digitnet.bulk.counts import Counts
from digitnet.bulk.units import ABSENT
from digitnet.errors import DataError, UsageError, brief
from digitnet.runs import LOCK

BULK, SUMMARY = "bulk.json", "summary.json"
FORMAT = 1

_PART = re.compile(r"part-\d{6,18}-[0-9a-f]{8}\.jsonl")
_DONE = re.compile(r"part-(\d{6,18})-([0-9a-f]{8})\.json")
_OURS = re.compile(rf"{re.escape(LOCK)}|{re.escape(BULK)}|{re.escape(SUMMARY)}|part-.*|\..*{re.escape(REMNANT)}")


def part_name(number: int, digest: str) -> str:
    """Return how the files of a unit begin."""
    return f"part-{number:06}-{digest}"


def find_done(folder: Path) -> dict[int, str]:
    """Find the digests of the units that are done, by number.

    Raises:
        DataError: One is done twice.
    """
    done: dict[int, str] = {}
    for path in folder.iterdir():
        if found := _DONE.fullmatch(path.name):
            number, digest = int(found[1]), found[2]
            if number in done:
                raise DataError(f"{folder} holds two parts of unit {number}; remove what is not from these inputs")
            done[number] = digest
    return done


def writing_part(folder: Path, number: int) -> AbstractContextManager[Draft]:
    """Write a part under a temporary name, until ``finish_part``."""
    return drafting(folder, f"part-{number:06}")


def clear(folder: Path) -> None:
    """Remove parts without their counts, which a killed process left, and those of shards that were not there.

    No other process may be at work in the folder.
    """
    for path in list(folder.iterdir()):
        if (found := _DONE.fullmatch(path.name)) and found[2] == ABSENT:
            path.unlink()
    for path in list(folder.iterdir()):
        if _PART.fullmatch(path.name) and not path.with_suffix(".json").exists():
            path.unlink()


def finish_part(folder: Path, number: int, digest: str, draft: Draft, counts: Counts) -> None:
    """Give a whole part its name, and then write its counts."""
    path = folder / f"{part_name(number, digest)}.jsonl"
    draft.rename(path)
    write_json(path.with_suffix(".json"), {"unit": number, "digest": digest, **counts.to_dict()})


def read_counts(folder: Path, done: dict[int, str]) -> Counts:
    """Add up the counts of the units that are done.

    Raises:
        DataError: A file of counts is damaged, or a part is missing.
    """
    total = Counts()
    for number, digest in sorted(done.items()):
        path = folder / f"{part_name(number, digest)}.json"
        total += Counts.from_dict(_read_json(path), path)
        if not path.with_suffix(".jsonl").is_file():
            raise DataError(f"{path.with_suffix('.jsonl')} is missing; remove {path.name}, and its unit is done again")
    return total


def begin(folder: Path, made_of: dict[str, Any]) -> None:
    """Note what the answers in a folder are made of, or see that it is the same as before.

    Raises:
        UsageError: It is not, or the folder holds something else.
    """
    path = folder / BULK
    stated = {"format": FORMAT, **made_of}
    if not path.exists():
        if other := next((entry.name for entry in folder.iterdir() if not _OURS.fullmatch(entry.name)), None):
            raise UsageError(f"{folder} holds other files, such as {other}; name a folder of its own by --output")
        write_json(path, stated)
        return
    before = _read_json(path)
    for name, value in json.loads(json.dumps(stated)).items():
        if before.get(name) != value:
            raise UsageError(
                f"{folder} was begun with {_difference(name, before.get(name), value)}; name another folder by --output"
            )


def _difference(name: str, before: Any, now: Any) -> str:
    """Say what answers were made of, and what they would be now, in the words of options."""
    if name == "network":
        return "another network (--checkpoint)"
    if isinstance(before, list) and isinstance(now, list):
        first = next(((b, n) for b, n in zip_longest(before, now) if b != n), (None, None))
        return f"other inputs: {brief(first[0], 80)}, and not {brief(first[1], 80)}"
    return f"--{name.replace('_', '-')} {brief(before, 80)}, and not {brief(now, 80)}"


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write a document, whole or not at all."""
    write_atomically(path, (json.dumps(document, indent=2) + "\n").encode())


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is damaged: {brief(error)}") from None
    if not isinstance(document, dict):
        raise DataError(f"{path} is damaged: it holds no JSON object")
    return document
