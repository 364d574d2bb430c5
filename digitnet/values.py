"""Plain values, as they come from a command line, TOML or JSON: checked against a type and a range.

Which settings there are, and their ranges, is said in ``config.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from digitnet.errors import brief

T = TypeVar("T")


def read_value(name: str, hint: Any, value: Any) -> Any:
    """Check a plain value against a field's type; a list becomes a tuple, an int a float where one is due.

    Raises:
        ValueError: The value is of another type, or none of the choices.
    """
    origin, args = get_origin(hint), get_args(hint)
    if origin in (UnionType, Union):
        return _read_union(name, args, value)
    if origin is Literal:
        check(value in args, name, f"one of {', '.join(args)}", value)
        return value
    if origin is tuple:
        items = "numbers" if args[0] is float else "whole numbers"
        check(isinstance(value, list | tuple), name, f"a list of {items}", value)
        return tuple(read_value(name, args[0], item) for item in value)
    if hint is float and type(value) is int:
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf  # which no range holds
    # type() and not isinstance(): True is an int to Python, not to a person.
    check(
        type(value) is hint,
        name,
        {int: "a whole number", float: "a number", bool: "true or false"}.get(hint, "text"),
        f'the text "{value}"' if isinstance(value, str) else value,
    )
    return value


def _read_union(name: str, hints: tuple[Any, ...], value: Any) -> Any:
    """Read a value that may be None, or one number or a list of them."""
    if value is None and NoneType in hints:
        return None
    kinds = [hint for hint in hints if hint is not NoneType]
    lists = [hint for hint in kinds if get_origin(hint) is tuple]
    return read_value(name, lists[0] if lists and isinstance(value, list | tuple) else kinds[0], value)


def read_dataclass(kind: type[T], values: Mapping[str, Any]) -> T:
    """Read a dataclass from plain values, every field of it and nothing else.

    Raises:
        ValueError: A name is unknown or missing, or a value is of the wrong type.
    """
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    check(isinstance(values, Mapping) and set(values) == set(names), kind.__name__, f"of {', '.join(names)}", "else")
    return kind(**{name: read_value(name, hints[name], values[name]) for name in names})


def check(valid: bool, name: str, expected: str, found: object) -> None:
    """Raise a ValueError that names the setting, what was expected and what was found, unless valid."""
    if not valid:
        shown = ",".join(map(_text, found)) if isinstance(found, tuple) else _text(found)
        raise ValueError(f"{name} must be {expected}, not {brief(shown) or 'empty'}")


def _text(value: object) -> str:
    """Put a value into text, even an integer of more digits than Python writes out."""
    return (
        f"a number of {value.bit_length():,} bits" if isinstance(value, int) and abs(value) >= 2**1000 else str(value)
    )


def check_only(given: bool, name: str, choice: str, chosen: str, where: tuple[str, ...]) -> None:
    """Raise a ValueError if a setting was given that means nothing beside what was chosen."""
    if given and chosen not in where:
        raise ValueError(f"{name} has no meaning with {choice} {chosen}, only with {' and '.join(where)}")
