"""Damage to bytes, text and JSON: seeded, of any kind of file, and blind to what it means."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from typing import Any

EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 2**63)
NUMBER = re.compile(rb"\d+")
# What stands where something else is due: types, ranges, what Python and others read differently.
ODD_JSON = (
    "null", "true", "false", "0", "-1", "1e400", "-1e400", "NaN", "Infinity", "1e9", "3.5", "9" * 30, "9" * 5000, '""',
    '"\\u0000"', '"\\ud800"', '"\\u001b[31m"', '"' + "x" * 20_000 + '"', "[]", "{}", "[" * 300 + "]" * 300, "[" * 3000,
    "[0, 0]", "[9999999999]", "[-1]", "1e-320", "65536", "2147483648", '{"a": {"a": {"a": 1}}}',
)  # fmt: skip


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Damage bytes in one to four places; beginnings, where headers are, more often than the rest."""
    for _ in range(rng.choice((1, 1, 2, 3, 4))):
        data = rng.choice(MUTATIONS)(data, rng)
    return data


def place_in(data: bytes, rng: random.Random) -> int:
    """Choose a place, every other time among the first 128 bytes."""
    end = len(data) if rng.random() < 0.5 else min(len(data), 128)
    return rng.randrange(end) if end else 0


def truncate(data: bytes, rng: random.Random) -> bytes:
    """Cut the end off."""
    return data[: place_in(data, rng)]


def flip_bits(data: bytes, rng: random.Random) -> bytes:
    """Flip one to sixteen bits."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16)) if changed else 0):
        changed[place_in(data, rng)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def overwrite_integer(data: bytes, rng: random.Random) -> bytes:
    """Put an extreme number, in either order of its bytes, over one, two, four or eight of them."""
    size, place = rng.choice((1, 2, 2, 4, 4, 8)), place_in(data, rng)
    number = rng.choice(EXTREMES) % (1 << 8 * size)
    return data[:place] + number.to_bytes(size, rng.choice(("little", "big"))) + data[place + size :]


def overwrite_text_number(data: bytes, rng: random.Random) -> bytes:
    """Put an extreme number over one that is written out."""
    found = list(NUMBER.finditer(data[:5000]))
    if not found:
        return data
    match = rng.choice(found)
    number = rng.choice((*map(str, EXTREMES), "-1", "9" * 400, "1e99", "0x10", "")).encode()
    return data[: match.start()] + number + data[match.end() :]


def splice(data: bytes, rng: random.Random) -> bytes:
    """Copy a part to another place."""
    start, place = place_in(data, rng), place_in(data, rng)
    part = data[start : start + rng.choice((1, 4, 16, 64, 512))]
    return data[:place] + part + data[place + len(part) :]


def repeat(data: bytes, rng: random.Random) -> bytes:
    """Let a part follow itself up to a thousand times."""
    start = place_in(data, rng)
    part = data[start : start + rng.choice((1, 4, 16, 64))]
    return data[:start] + part * rng.choice((1, 2, 10, 1000)) + data[start:]


def delete(data: bytes, rng: random.Random) -> bytes:
    """Leave a part out."""
    start = place_in(data, rng)
    return data[:start] + data[start + rng.choice((1, 2, 4, 16, 128)) :]


def insert(data: bytes, rng: random.Random) -> bytes:
    """Put random bytes in."""
    place = place_in(data, rng)
    return data[:place] + rng.randbytes(rng.choice((1, 2, 4, 16, 128))) + data[place:]


MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    truncate, flip_bits, flip_bits, overwrite_integer, overwrite_integer, overwrite_text_number, splice, repeat, delete,
    insert,
)  # fmt: skip


def mutate_json(value: Any, rng: random.Random) -> str:
    """Write a JSON value with one of its parts replaced, left out, doubled or renamed."""
    places = list(_places(value))
    holder, key = rng.choice(places)
    kind = rng.choice(("replace", "replace", "replace", "remove", "double", "rename"))
    mark = f"mark{rng.getrandbits(64):x}"
    if kind == "remove" or (kind != "replace" and isinstance(holder, list)):
        del holder[key]
        return json.dumps(value)
    old = json.dumps(holder[key])
    if kind == "rename":
        holder[rng.choice(("", "x" * 3000, "\x1b[2J", "__class__", f"{key}.weight"))] = holder.pop(key)
        return json.dumps(value)
    holder[key] = mark
    new = rng.choice(ODD_JSON)
    if kind == "double":
        new = f"{old}, {json.dumps(key)}: {rng.choice((old, new))}"
    return json.dumps(value).replace(f'"{mark}"', new)


def _places(value: Any) -> list[tuple[Any, Any]]:
    """List every part of a value by what holds it and where."""
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        holder = waiting.pop()
        keys: Any = holder if isinstance(holder, dict) else range(len(holder)) if isinstance(holder, list) else ()
        found += [(holder, key) for key in keys]
        waiting += [holder[key] for key in keys]
    return found
