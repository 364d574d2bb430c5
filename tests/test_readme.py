"""README.md against the program: every option with its help, every file in the tree, every relative link.

``python tests/test_readme.py`` writes the options into README.md anew.
"""

import re
import subprocess
from pathlib import Path

import pytest
import typer

from digitnet.cli import app

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
COMMANDS = ("train", "eval", "predict", "info")


def options_table(command):
    """Put the options of a command into a table in Markdown."""
    lines = ["| option | what it does |", "|---|---|"]
    for parameter in typer.main.get_command(app).commands[command].params:
        names = " / ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])
        if not parameter.opts[0].startswith("-"):
            names = f"`{parameter.metavar}`"
        lines.append(f"| {names} | {parameter.help} |")
    return "\n".join(lines)


def section(text, command):
    found = re.search(rf"<!-- options of {command} -->\n(.*?)\n<!-- end -->", text, re.DOTALL)
    assert found, f"README.md has no options of {command}"
    return found


@pytest.mark.parametrize("command", COMMANDS)
def test_options_are_the_programs(command):
    assert section(README.read_text(), command)[1] == options_table(command)


def test_every_command_is_there():
    assert set(typer.main.get_command(app).commands) == set(COMMANDS)


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
    files = {line for line in listed.stdout.splitlines() if not line.startswith("tests/") and (ROOT / line).exists()}
    assert shown == files


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!https?://)([^)#]+)\)", README.read_text()):
        assert (ROOT / target).exists(), target


if __name__ == "__main__":
    text = README.read_text()
    for name in COMMANDS:
        start, end = section(text, name).span(1)
        text = text[:start] + options_table(name) + text[end:]
    README.write_text(text)
