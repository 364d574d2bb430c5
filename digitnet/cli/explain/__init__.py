"""``digitnet explain``: what a course shows with a drawing, with true numbers. One file per command.

As in all of the command line, torch and matplotlib are imported inside the commands.
"""

from __future__ import annotations

import typer

from digitnet.cli.explain.image import image
from digitnet.cli.explain.learning_rate import learning_rate
from digitnet.cli.explain.step import step
from digitnet.cli.explain.training import training
from digitnet.cli.explain.unit import unit

explain_app = typer.Typer(no_args_is_help=True, help="See how a network learns and how it sees, with true numbers.")
explain_app.command("unit")(unit)
explain_app.command("step")(step)
explain_app.command("learning-rate")(learning_rate)
explain_app.command("training")(training)
explain_app.command("image")(image)
