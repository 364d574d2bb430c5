"""README.md against the program: every option with its help, every file in the tree, every relative link.

``python tests/test_readme.py`` writes the tables into README.md anew.
"""

import re
import subprocess
from functools import partial
from pathlib import Path

import pytest
import typer

from digitnet.cli import app
from digitnet.models import build_model
from digitnet.recipes import OPTIMIZER_DEFAULTS, PRESETS, SCHEDULE_DEFAULTS, build_config

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
COMMANDS = (
    "train", "eval", "predict", "adapt", "info", "doctor", "verify",
    "explain unit", "explain step", "explain learning-rate", "explain training", "explain image",
)  # fmt: skip


def command_names(group=None, above=""):
    """Map the name of each command, such as explain unit, to the command."""
    found = {}
    for name, command in (group or typer.main.get_command(app)).commands.items():
        inner = hasattr(command, "commands")
        found |= command_names(command, f"{above}{name} ") if inner else {f"{above}{name}": command}
    return found


def options_table(command):
    """Put the options of a command into a table in Markdown."""
    lines = ["| option | what it does |", "|---|---|"]
    for parameter in command_names()[command].params:
        names = " / ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])
        if not parameter.opts[0].startswith("-"):
            names = f"`{parameter.metavar}`"
        lines.append(f"| {names} | {parameter.help} |")
    return "\n".join(lines)


def presets_table():
    """Put what is in each preset into a table in Markdown."""
    lines = ["| network | preset | what it sets | parameters |", "|---|---|---|---|"]
    for kind, presets in PRESETS.items():
        for name, settings in presets.items():
            model = build_model(build_config(kind=kind, preset=name, overrides={}).model)
            parameters = sum(parameter.numel() for parameter in model.parameters())
            lines.append(f"| {kind} | {name} | {said(settings)} | {parameters:,} |")
    return "\n".join(lines)


def defaults_table():
    """Put what follows from the choice of an optimizer or a schedule into a table in Markdown."""
    lines = ["| choice | sets, unless an option says otherwise |", "|---|---|"]
    for choices in (OPTIMIZER_DEFAULTS, SCHEDULE_DEFAULTS):
        lines += [f"| {name} | {said(settings)} |" for name, settings in choices.items() if settings]
    return "\n".join(lines)


def said(settings):
    plain = {key: ",".join(map(str, value)) if isinstance(value, tuple) else value for key, value in settings.items()}
    return ", ".join(f"{key} {value}" for key, value in plain.items())


TABLES = {f"options of {command}": partial(options_table, command) for command in COMMANDS}
TABLES |= {"presets": presets_table, "defaults": defaults_table}


def section(text, table):
    found = re.search(rf"<!-- {table} -->\n(.*?)\n<!-- end -->", text, re.DOTALL)
    assert found, f"README.md has no {table}"
    return found


@pytest.mark.parametrize("table", TABLES)
def test_tables_are_the_programs(table):
    assert section(README.read_text(), table)[1] == TABLES[table]()


def test_no_placeholder_is_left():
    assert not re.findall(r"^[A-Z_]{4,}$|\b[A-Z]+_[A-Z]+ROW\b", README.read_text(), re.MULTILINE)


def test_every_command_is_there():
    assert set(command_names()) == set(COMMANDS)


def test_file_tree_is_the_repositorys():
    tree = re.search(r"## The files\n.*?```\n(.*?)```", README.read_text(), re.DOTALL)[1]
    shown, folder = set(), ""
    for line in tree.splitlines():
        name = line.split()[0]
        if line.startswith("  "):
            shown.add(f"{folder}{name}")
        elif name.endswith("/"):
            folder = name
        else:
            shown.add(name)
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    paths = (line for line in listed.stdout.splitlines() if (ROOT / line).exists())
    files = {re.sub(r"^docs/figures/.*", "docs/figures/", path) for path in paths if not path.startswith("tests/")}
    assert shown == files


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!https?://)([^)#]+)\)", README.read_text()):
        assert (ROOT / target).exists(), target


if __name__ == "__main__":
    text = README.read_text()
    for name, make in TABLES.items():
        start, end = section(text, name).span(1)
        text = text[:start] + make() + text[end:]
    README.write_text(text)
