"""Python, digitnet itself and the packages that it needs: there, new enough, and not broken."""

from __future__ import annotations

import importlib
import os
import platform
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from digitnet import __version__
from digitnet.doctor.check import Check, fail, is_at_least, ok, reason, warn

# As pyproject.toml has them: the metadata of a source tree that is not installed would not be there to ask.
PYTHON = "3.11"
LEAST = {
    "torch": "2.6",
    "torchvision": "0.21",
    "numpy": "1.26",
    "pillow": "10.3",
    "safetensors": "0.4.3",
    "platformdirs": "4.0",
    "filelock": "3.13",
    "typer": "0.28",
    "rich": "14.3",
}
EXTRAS = {"plot": ("matplotlib", "3.10.8"), "tb": ("tensorboard", "2.17")}
USES = {"plot": "figures and curves are not drawn", "tb": "train --tensorboard does not work"}
IMPORTED_AS = {"pillow": "PIL.Image"}
REINSTALL = "install both anew, as a pair: pip install --force-reinstall torch torchvision"


def check_python(name: str) -> Check:
    """Compare Python's version with the oldest that digitnet runs on."""
    found, place = platform.python_version(), "" if sys.prefix == sys.base_prefix else ", a virtual environment"
    if not is_at_least(found, PYTHON):
        return fail(name, f"{found}, and digitnet needs {PYTHON}", f"install Python {PYTHON} or newer")
    return ok(name, f"{found} at {sys.executable}{place}")


def check_digitnet(name: str) -> Check:
    """Say which digitnet this is, and compare it with what pip takes it for."""
    place = f"{__version__} in {Path(__file__).parents[1]}"
    try:
        installed = metadata.version("digitnet")
    except metadata.PackageNotFoundError:
        return ok(name, f"{place}, not installed by pip")
    if installed != __version__:
        return warn(name, f"{place}, which pip takes for {installed}", "install it anew: pip install its folder")
    return ok(name, place)


def check_packages(name: str) -> Check:
    """Import each package that digitnet needs beside PyTorch's, and compare its version."""
    versions, faults = [], []
    for package in [package for package in LEAST if package not in ("torch", "torchvision")]:
        version, fault = _look_at(package)
        versions.append(f"{package} {version}")
        faults += [fault] if fault else []
    if faults:
        names = " ".join(fault.split()[0] for fault in faults)
        return fail(name, "; ".join(faults), f"install anew: pip install --upgrade --force-reinstall {names}")
    return ok(name, ", ".join(versions))


def _look_at(package: str) -> tuple[str, str | None]:
    """Return a package's version, and what is wrong with it."""
    try:
        version = metadata.version(package)
        importlib.import_module(IMPORTED_AS.get(package, package))
    except metadata.PackageNotFoundError:
        return "", f"{package} is missing"
    except Exception as error:  # a library of the wrong kind, a file cut short: there are many ways to be broken
        return "", f"{package} {version} cannot be imported ({reason(error)})"
    old = not is_at_least(version, LEAST[package])
    return version, f"{package} {version} is older than {LEAST[package]}" if old else None


def check_torch(name: str) -> Check:
    """Import PyTorch, compare its version, and let it share numbers with NumPy."""
    try:
        import torch

        torch.zeros(1).numpy()
    except ModuleNotFoundError as error:
        return fail(name, f"cannot be imported: {reason(error)}", "install it: pip install torch torchvision")
    except Exception as error:
        return fail(name, f"does not work: {reason(error)}", REINSTALL)
    if not is_at_least(torch.__version__, LEAST["torch"]):
        return fail(name, f"{torch.__version__} is older than {LEAST['torch']}", REINSTALL)
    made_for = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
    return ok(name, f"{torch.__version__}, made for {made_for}")


def check_torchvision(name: str) -> Check:
    """Import torchvision, which only downloads MNIST and tells PyTorch's version; both must be of one pair."""
    try:
        version, needed = metadata.version("torchvision"), _torch_needed()
    except metadata.PackageNotFoundError:
        return warn(name, "missing: MNIST cannot be downloaded", "install it: pip install torchvision")
    pair = f"{version} needs torch {needed}; torch is {_version_of('torch')}" if needed else version
    try:
        importlib.import_module("torchvision.datasets")
    except Exception as error:  # RuntimeError where its operators are of another PyTorch
        return fail(name, f"{pair}; it cannot be imported: {reason(error)}", REINSTALL)
    if needed and not _fits(_version_of("torch"), needed):
        return fail(name, pair, REINSTALL)
    return ok(name, pair)


def _torch_needed() -> str | None:
    """Return what torchvision says of the PyTorch that it was made for, such as ==2.6.0, in its metadata."""
    found = (re.match(r"torch\s*\(?([=<>!~][^;)]*)", line) for line in metadata.requires("torchvision") or ())
    return next((match[1].strip() for match in found if match), None)


def _version_of(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "missing"


def _fits(version: str, needed: str) -> bool:
    """Say whether a version is ==, or at least >=, what is needed; other signs are pip's to judge."""
    for part in map(str.strip, needed.split(",")):
        is_new_enough = is_at_least(version, part[2:])
        if part.startswith("==") and not (is_new_enough and is_at_least(part[2:], version)):
            return False
        if part.startswith(">=") and not is_new_enough:
            return False
    return True


@contextmanager
def _no_traces() -> Iterator[None]:
    """Keep matplotlib from making its folder in a home where it has none yet: to look changes nothing."""
    if "MPLCONFIGDIR" in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="digitnet-") as place:
        os.environ["MPLCONFIGDIR"] = place
        try:
            yield
        finally:
            del os.environ["MPLCONFIGDIR"]


def check_extra(name: str) -> Check:
    """Say whether an extra, which the name ends in, is installed, and how to get it."""
    extra = name.removeprefix("extra ")
    package, least = EXTRAS[extra]
    advice = f"pip install 'digitnet[{extra}]'"
    try:
        version = metadata.version(package)
        with _no_traces():
            importlib.import_module(package)
    except metadata.PackageNotFoundError:
        return warn(name, f"{package} is missing: {USES[extra]}", advice)
    except Exception as error:
        return warn(
            name, f"{package} cannot be imported ({reason(error)}): {USES[extra]}", f"{advice} --force-reinstall"
        )
    if not is_at_least(version, least):
        return warn(name, f"{package} {version} is older than {least}", f"{advice} --upgrade")
    return ok(name, f"{package} {version}")
