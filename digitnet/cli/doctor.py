"""``digitnet doctor``: what is installed, what works, and what to do where something does not."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from digitnet.cli.options import print_json


def doctor(
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Check Python, PyTorch, devices, networks, data, write access, extras and the terminal.

    Each is ok, or has a line that says what to do. Nothing is downloaded, and nothing is changed. The exit code is 0
    where nothing failed, and 1 otherwise; warnings are of what digitnet works without.
    """
    from digitnet import reports
    from digitnet.console.doctor import print_checks
    from digitnet.doctor.examination import examine

    if json_:
        checks = list(examine(sys.stdout))
        print_json(reports.doctor_report(checks))
    else:
        checks = print_checks(examine(sys.stdout))
    if any(check.status == "failed" for check in checks):
        raise typer.Exit(1)
