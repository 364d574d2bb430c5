"""The result of looking at one thing, and versions compared without a library, which may be what is missing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "failed"]


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    name: str
    status: Status
    """warning: digitnet works, but not all of it or not well; failed: some command ends in an error."""
    found: str
    """What is there, in one line."""
    advice: str | None = None
    """What to do; None where all is well."""


def ok(name: str, found: str) -> Check:
    """Say that all is well."""
    return Check(name=name, status="ok", found=found)


def warn(name: str, found: str, advice: str) -> Check:
    """Say that something is not as it should be, and that digitnet works all the same."""
    return Check(name=name, status="warning", found=found, advice=advice)


def fail(name: str, found: str, advice: str) -> Check:
    """Say that something does not work."""
    return Check(name=name, status="failed", found=found, advice=advice)


def reason(error: BaseException) -> str:
    """Say in one line what an error is."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def counted(count: int, noun: str) -> str:
    """Put a number before what it counts: 1 core, 2 cores."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def is_at_least(version: str, least: str) -> bool:
    """Compare two versions by their numbers; what follows these, such as +cu126 or rc1, counts for nothing."""
    return _numbers(version) >= _numbers(least)


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"\d+(\.\d+)*", version)
    numbers = [int(number) for number in found[0].split(".")] if found else []
    while numbers and numbers[-1] == 0:  # 2.6.0 is 2.6
        numbers.pop()
    return tuple(numbers)
