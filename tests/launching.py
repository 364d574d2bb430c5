"""Starts the processes of a launch, as torchrun does but without waiting for it, and torchrun itself."""

import os
import socket
import subprocess
import sys
import tempfile
from types import SimpleNamespace

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


def torchrun(size, *arguments, options=(), **told):
    """Start torchrun, PyTorch's launcher, with so many processes of ``python -m digitnet`` or another module."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(size), *options]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | told
    return _start([*command, "-m", *map(str, arguments)], env)
