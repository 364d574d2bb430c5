"""Command lines as nobody means them: every command with options of all commands, and values that are none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

import typer
from hypothesis import strategies as st

from digitnet import config
from digitnet.cli import app

NUMBERS = [
    "0", "1", "2", "3", "-1", "-0", "10", "28", "00", "+1", "1_000", "٣", "1e3", "1e400", "-1e400", "0.5", "1.5",
    ".5", "5.", "1e-320", "nan", "inf", "-inf", "NaN", "0x10", "65536", "65537", "4294967296", "9223372036854775807",
    "9223372036854775808", "-9223372036854775809", "1" + "0" * 40, "9" * 5_000,
]  # fmt: skip
LISTS = [
    "1,2", "4,4", ",", "1,", ",1", "none", "1,,2", "0.9,0.999", "nan,nan", "0.9", "1,2,3", "65536,65536", "8,-8",
    "1 2",
]  # fmt: skip
UNITS = ["1%", "100%", "101%", "0%", "-1%", "%", "1 %", "5s", "1h", "1h1m", "0s", "-5s", "s", "1.m", "nan%", "infs"]
CHOICES = [name for kind in vars(config).values() if get_origin(kind) is Literal for name in get_args(kind)]
NAMES = [
    *CHOICES, "mnist", "strokes", "fast", "standard", "pretrained-cnn", "pretrained-mlp", "tiny", "test", "train",
    "validation", "MNIST", "Strokes", "true", "false", "none", "null", "None", "-", "--", "-h", "--help", "--version",
]  # fmt: skip
# Pictures and a folder of digits that are there, under names that steer a terminal or are no text.
BAD_NAMES = ["\x1b[31m.png", "\udcff.png", "new\nline.png", "[red]x.png", "-7.png", "\x1b]0;x\x07", "\udc80 \u202e"]
# What lies in the folder of the trials, and what does not.
PLACES = [
    "run", "run/best.safetensors", "run/config.toml", "run/metrics.csv", "digits", "digits/7", "digits/7/0.png",
    "7.png", "empty", "text.txt", "zeros.bin", "missing", "missing/missing", "missing.png", "text.txt/below", ".", "..",
    "./", "*", "**", "*.png", "[", "[!", "loop", "pipe", "locked", "n" * 300, "a/" * 2_000, "caf\u00e9", "7.png\n", " ",
    *BAD_NAMES,
]  # fmt: skip
NASTY = [
    "", " ", "\t", "\n", "\r\n", "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\x7f", "\x9b31m", "\u202e", "\ufeff",
    "\u2028", "\udcff", "\udc80\udcfe", "e\u0301", "😀", "'", '"', "`id`", "$(id)", "{}", "{0}", "%s", "%", "\\",
    "[red]", "[/]", "=", "==",
]  # fmt: skip
# A program's arguments hold no NUL, and of the surrogates only those that stand for broken bytes.
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0") | st.characters(
    min_codepoint=0xDC80, max_codepoint=0xDCFF, categories=["Cs"]
)


# What fits an option, by what its help calls the value, the first that it holds; else it is a small number.
FITTING = {
    "NAME|DIR": ["strokes", "mnist", "digits", "run", "empty", *BAD_NAMES],
    "NAME": CHOICES,
    "DIR": ["digits", "empty", "new", "run", *BAD_NAMES],
    "REF": ["run", "run/last.safetensors", "pretrained-mlp", "digits"],
    "FILE.toml": ["run/config.toml", "text.txt"],
    ",": ["1,2", "4,4", "8", "1", "0,1", "2,2,2", "1,2;3,4", "0.9,0.99", "65536,65536", "65536"],
    "SHARE": ["0", "0.5", "1%", "100%", "0.99"],
    "TIME": ["0.01s", "1s", "0.1"],
    "RATE": ["0.1", "auto", "1e9", "1e-9"],
    "": ["0", "1", "2", "5", "90", "0.1", "0.5", "1.0", "1000000000", "1" + "0" * 30, "1e300", *BAD_NAMES],
}
ARGUMENTS = [
    (),
    ("7.png",),
    ("digits",),
    ("run",),
    ("missing",),
    ("-",),
    *((name,) for name in BAD_NAMES),
    ("7.png", "text.txt", "digits", "empty"),
]


@dataclass(frozen=True)
class Command:
    """A command as a person types it, and what it takes."""

    words: tuple[str, ...]
    options: tuple[tuple[str, str], ...]
    """Those that take a value: the name, and what the help calls the value."""
    flags: tuple[str, ...]


def commands() -> list[Command]:
    """List every command of the program, groups too, from the program itself."""
    return list(_walk(typer.main.get_command(app), ()))


def _walk(command: Any, words: tuple[str, ...]) -> Iterator[Command]:
    own = [one for one in command.params if one.param_type_name == "option"]
    options = tuple((name, one.metavar or "") for one in own if not one.is_flag for name in one.opts)
    flags = tuple(name for one in own if one.is_flag for name in (*one.opts, *one.secondary_opts))
    yield Command(words, options, (*flags, "--help"))
    for name, child in getattr(command, "commands", {}).items():
        yield from _walk(child, (*words, name))


def lines() -> st.SearchStrategy[list[str]]:
    """Return the strategy of command lines."""
    known = commands()
    foreign = sorted({name for command in known for name, _ in command.options})
    return st.one_of(*(_line(command, foreign) for command in known))


def _line(command: Command, foreign: list[str]) -> st.SearchStrategy[list[str]]:
    value = _values()
    flag = st.sampled_from(command.flags).map(lambda name: [name])
    option = st.one_of(st.sampled_from([*foreign, *(name for name, _ in command.options)]), value.map("--{}".format))
    wrong = st.one_of(
        st.tuples(option, value).map(list),
        st.tuples(option, value).map(lambda both: ["=".join(both)]),
        option.map(lambda name: [name]),
        value.map(lambda text: [text]),
    )
    own = [st.tuples(st.just(name), st.sampled_from(_fitting(metavar)) | value) for name, metavar in command.options]
    right = st.one_of(*(pair.map(list) for pair in own)) if own else flag
    # Most of a line is right: what is wrong in two places is found out by the first.
    drawn = st.tuples(
        st.lists(right, max_size=4), st.lists(flag, max_size=2), st.lists(wrong, max_size=1), st.sampled_from(ARGUMENTS)
    )
    # Options that come later count, so few lines train for longer.
    start = [*command.words, *(("--time-budget", "0.05s") if command.words == ("train",) else ())]
    return drawn.map(
        lambda parts: [*start, *(word for part in parts[:3] for words in part for word in words), *parts[3]]
    )


def _fitting(metavar: str) -> list[str]:
    return next(values for name, values in FITTING.items() if name in metavar)


def _values() -> st.SearchStrategy[str]:
    known = [st.sampled_from(values) for values in (NUMBERS, LISTS, UNITS, NAMES, PLACES, PLACES, NASTY)]
    numbers = st.integers().map(str) | st.floats().map(str)
    return st.one_of(*known, numbers, st.text(CHARACTERS, max_size=12)).map(_inside)


def _inside(text: str) -> str:
    """Keep a path from beginning at the root, or far above: what a trial writes stays in its folder."""
    text = f".{text}" if text.startswith("/") else text
    return text.replace("../..", "..")
