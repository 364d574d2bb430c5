"""The command line: one file per command, each from options to configuration to work to console.

Nothing here or at the top of a command's file imports torch, so that ``--help`` and a wrong option answer at once.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from digitnet import __version__
from digitnet.cli.adapt import adapt
from digitnet.cli.doctor import doctor
from digitnet.cli.eval import evaluate
from digitnet.cli.explain import explain_app
from digitnet.cli.info import info
from digitnet.cli.predict import predict
from digitnet.cli.train import train
from digitnet.cli.verify import verify
from digitnet.errors import AbsentError, DigitnetError, LaunchError, UsageError, printable
from digitnet.launch import read_launch

READER_GONE = 141  # as a shell says of what SIGPIPE ended: 128 and the signal's number, as 130 is of Ctrl-C's
# What the libraries say, and how a person would.
PLAIN = {
    "Value error, ": "",
    "Input should be a valid integer.*": "a whole number is needed, such as 10",
    "Input should be a valid number.*": "a number is needed, such as 0.1",
    r"(option: --lr) .*": r"\1 (it is called --learning-rate)",
}
OUT_OF_MEMORY = re.compile("can't allocate memory|not enough memory|out of memory")  # as PyTorch says it
SHARING = ("train", "predict")  # commands whose work several processes can share
PATHS = ("--config", "--data-dir", "--dataset", "--nondigits", "--output", "--report")


@contextmanager
def _one_line_errors(ctx: typer.Context) -> Iterator[None]:
    """End with one plain line and the right exit code for what a person can mend; a bug keeps its traceback."""
    try:
        yield
    except DigitnetError as error:
        _fail_for(error)
    except typer.TyperException as error:
        message = error.format_message().removesuffix(".")
        for said, meant in PLAIN.items():
            message = re.sub(said, meant, message)
        if not message:  # no command at all: typer shows the help
            raise
        if (where := getattr(error, "ctx", None)) is not None:  # the command's, which is below the group's
            path = where.command_path
        else:
            path = " ".join(filter(None, (ctx.command_path, ctx.invoked_subcommand)))
        _fail(f"{message[0].lower()}{message[1:]}; see {path} --help", error.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted", 130, alike=True)
    except (BrokenPipeError, SystemExit) as end:  # Rich makes the second of the first, with code 1
        if isinstance(end, SystemExit) and not end.code:  # typer's, when it has shown or installed the completion
            raise
        _discard_output()
        raise typer.Exit(READER_GONE) from None
    except OSError as error:
        if error.strerror is None:
            raise
        _fail(f"{error.filename}: {error.strerror}" if error.filename else error.strerror, 1)
    except (MemoryError, RuntimeError) as error:
        _fail_without_memory(error)


def _fail_for(error: DigitnetError) -> NoReturn:
    if isinstance(error, AbsentError):  # there is nobody else to say it
        _end_with(str(error), error.exit_code)
    _fail(str(error), error.exit_code, alike=error.told or isinstance(error, LaunchError))


def _note_for_launcher(message: str) -> None:
    """Let torchrun show the reason in what it says at the end, too: it is long, and ours stands above it.

    Source: torch.distributed.elastic.multiprocessing.errors, ``ProcessFailure``.
    """
    if path := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        with suppress(OSError):
            Path(path).write_text(json.dumps({"message": message, "timestamp": int(time.time())}))


def _fail(message: str, code: int, *, alike: bool = False) -> NoReturn:
    _note_for_launcher(message)
    _end_with(_said_by_one(message, alike=alike), code)


def _end_with(said: str | None, code: int) -> NoReturn:
    if said is not None:
        with suppress(BrokenPipeError):
            typer.echo(f"error: {printable(said)}", err=True)
    _discard_output()
    raise typer.Exit(code)


def _said_by_one(message: str, *, alike: bool) -> str | None:
    """Return what this process is to say, where several were launched together; None where another one says it."""
    try:
        found = read_launch()
    except UsageError:  # which is what is to be said
        return message
    if found.size == 1:
        return message
    if alike:
        return message if found.is_first else None
    from digitnet.meeting import refuse_together

    return refuse_together(message)


def _fail_without_memory(error: MemoryError | RuntimeError) -> NoReturn:
    """Say that there is not enough memory; any other error of PyTorch's is a bug."""
    if isinstance(error, MemoryError) or OUT_OF_MEMORY.search(str(error)):
        _fail("this takes more memory than there is; a smaller network, batch or data set takes less", 1)
    raise error


def _discard_output() -> None:
    """Let what cannot be written go nowhere: to write it once more, as Python ends, would be one more error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(nowhere, stream.fileno())


class _Group(TyperGroup):
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        with _one_line_errors(ctx):
            for option, value in pairwise([*args, "end"]):
                # A shell's unset variable; the empty path would be the folder that we are in.
                if (value == "" and option in PATHS) or (option.endswith("=") and option[:-1] in PATHS):
                    raise UsageError(f"{option.removesuffix('=')} is given, but empty")
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        with _one_line_errors(ctx):
            result = super().invoke(ctx)
            sys.stdout.flush()  # a full disk is a failure, too
            return result


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("train")(train)
app.command("eval")(evaluate)
app.command("predict")(predict)
app.command("adapt")(adapt)
app.command("info")(info)
app.command("doctor")(doctor)
app.command("verify")(verify)
app.add_typer(explain_app, name="explain")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"digitnet {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    ctx: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end."),
    ] = False,
) -> None:
    """Train, evaluate and use a classifier of handwritten digits."""
    assert not version  # it has been printed
    if read_launch().size > 1 and ctx.invoked_subcommand not in SHARING:
        raise UsageError(f"{ctx.invoked_subcommand} runs in one process; start it without the launcher")


def main() -> None:
    """Run the command line; scripts/digitnet says by DIGITNET_PROG what the person typed."""
    # PyTorch's import makes half a million objects that stay. To look through them for garbage, a thousand times as
    # they are made, would be a fifth of what a short command takes.
    gc.set_threshold(100_000)
    if "WORLD_SIZE" in os.environ:  # of a launch that goes wrong, PyTorch's sockets log pages, and we a line
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed, by a shell's >&-
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 (for as long as we live)
    try:
        app(prog_name=os.environ.get("DIGITNET_PROG", "digitnet"))
    except KeyboardInterrupt:  # while the commands are made ready
        typer.echo("error: interrupted", err=True)
        sys.exit(130)
    except SystemExit as end:
        if "torch" in sys.modules and isinstance(end.code, int):
            _end_at_once(end.code)
        raise


def _end_at_once(code: int) -> NoReturn:
    """End the process when all is written. To take PyTorch apart first, object by object, would take half a second."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # its reader has gone
            stream.flush()
    os._exit(code)
