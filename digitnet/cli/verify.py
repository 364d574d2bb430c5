"""``digitnet verify``: whether a run is what it says, and its first steps can be repeated to the bit."""

from __future__ import annotations

from typing import Annotated

import typer

from digitnet.cli.options import DataDirOption, print_json
from digitnet.errors import DigitnetError, ThresholdError


def verify(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or a run's name.")],
    data_dir: DataDirOption = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Check a run's data, files and versions, and train its first steps once more: say what differs."""
    from digitnet import reports
    from digitnet.console.verification import print_verification
    from digitnet.device import keep_freed_memory
    from digitnet.runs import check_not_trained, find_run
    from digitnet.verification import verify_run

    keep_freed_memory()
    folder = find_run(run)
    check_not_trained(folder)
    verification = verify_run(folder, data_dir=data_dir)
    if json_:
        print_json(reports.verification_report(verification))
    else:
        print_verification(verification)
    if differing := verification.named("differs"):
        raise ThresholdError(f"the run differs from what it says: {', '.join(differing)}")
    if unchecked := verification.named("unchecked"):
        raise DigitnetError(f"not all of the run could be checked: {', '.join(unchecked)}")
