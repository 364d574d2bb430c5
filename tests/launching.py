"""Starts the processes of a launch, as torchrun does but without waiting for it, and torchrun itself."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import ROOT


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def environment(rank, size, port):
    told = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": size, "MASTER_PORT": port}
    return os.environ | {k: str(v) for k, v in told.items()} | {"MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}


def start(rank, size, port, *arguments, **told):
    """Start one process of a launch: Python with the arguments."""
    env = environment(rank, size, port) | {k: str(v) for k, v in told.items()}
    return _start([sys.executable, *map(str, arguments)], env)


def _start(command, env):
    """Start a process that writes into files, which no output fills up as it does a pipe."""
    files = [tempfile.TemporaryFile("w+") for _ in ("stdout", "stderr")]  # noqa: SIM115 (closed by end)
    process = subprocess.Popen(command, env=env, stdout=files[0], stderr=files[1])
    process.files = files
    return process


def end(process, timeout=100):
    """Wait for a process to end, and return how, with its output."""
    try:
        code = process.wait(timeout)
    finally:
        process.kill()
    texts = []
    for file in process.files:
        file.seek(0)
        texts.append(file.read())
        file.close()
    return SimpleNamespace(returncode=code, stdout=texts[0], stderr=texts[1])


def launch(size, *arguments, each=None, timeout=100):
    """Run Python with the arguments in so many processes, each with what ``each`` adds for its rank."""
    port = free_port()
    processes = [start(r, size, port, *arguments, *(each(r) if each else ())) for r in range(size)]
    return [end(process, timeout) for process in processes]


def torchrun(size, *arguments, options=(), program=None):
    """Start torchrun, PyTorch's launcher, with so many processes of a module, or of another program."""
    what = ["--no-python", program] if program else ["-m"]
    where = [] if "--nnodes" in options else ["--standalone"]
    command = [sys.executable, "-m", "torch.distributed.run", *where, "--nproc-per-node", str(size), *options, *what]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return _start([*command, *map(str, arguments)], env)


def workers(launcher, size):
    """Wait for all processes that a launcher has started, and return their ids by rank."""
    children, until = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children"), time.monotonic() + 60
    while time.monotonic() < until:
        found = {}
        for pid in children.read_text().split():
            with suppress(OSError):  # it has just ended
                told = Path(f"/proc/{pid}/environ").read_text().split("\0")
                found |= {int(name.removeprefix("RANK=")): int(pid) for name in told if name.startswith("RANK=")}
        if len(found) == size:
            return found
        time.sleep(0.05)
    pytest.fail(f"there are not {size} processes: {end(launcher).stderr}")
