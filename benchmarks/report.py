"""What the benchmark says: one JSON document, and the same as tables in Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.machine import BUSY, NOISE, is_noisy, spread
from benchmarks.measure import Part, figure

FORMAT = 1  # of the JSON document; grows when a field changes its meaning or goes
HEADING = "| measured | n | mean | standard deviation | least | most |\n|---|---|---|---|---|---|"


def part_to_dict(part: Part, others: float | None) -> dict[str, Any]:
    """Return a part in plain values, with what tells how quiet the machine was.

    Args:
        part: What was found.
        others: The share of all cores' time that others took meanwhile; None where it is not known.
    """
    return {
        "title": part.title,
        "figures": [one.to_dict() for one in part.figures],
        "details": part.details,
        "matrix_product": {
            **(figure("matrix product, fp32", "GFLOP/s", part.products).to_dict() if part.products else {}),
            "spread": spread(part.products),
            "noisy": is_noisy(part.products),
        },
        "others": others,
    }


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write the document, whole or not at all: it is written anew after each part."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)


def markdown(document: Mapping[str, Any]) -> str:
    """Put a document into Markdown: the machine, one table of all figures, and what speaks against them."""
    rows = [row for part in document["parts"].values() for row in _rows(part, is_marked(document, part))]
    return "\n".join([_machine_line(document["machine"]), "", HEADING, *rows, "", *_notes(document)])


def is_marked(document: Mapping[str, Any], part: Mapping[str, Any]) -> bool:
    """Say whether the figures of a part are from a machine that was not quiet."""
    others = part.get("others") or 0.0
    noisy = part.get("matrix_product", {}).get("noisy", False)
    return bool(noisy or max(document["machine"]["busy"], others) > BUSY)


def _rows(part: Mapping[str, Any], marked: bool) -> list[str]:
    rows = [_row(one, marked) for one in part.get("figures", ())]
    failed = [f"| not measured: {_cell(reason)} | | | | | |" for reason in failures(part)]
    return [f"| **{part['title']}** | | | | | |", *rows, *failed]


def failures(part: Mapping[str, Any]) -> list[str]:
    """Return why something of a part, or all of it, was not measured."""
    return [part["error"]] if "error" in part else list(part["details"].get("failed", {}).values())


def _row(one: Mapping[str, Any], marked: bool) -> str:
    unit = one["unit"]
    cells = [formatted(one["mean"], unit), "" if one["std"] is None else formatted(one["std"], unit)]
    cells += [formatted(one["min"], unit), formatted(one["max"], unit)]
    return f"| {_cell(one['name'])}{' (noisy)' if marked else ''} | {one['n']} | {' | '.join(cells)} |"


def formatted(value: float, unit: str) -> str:
    """Format a value for people, with its unit: three digits that count, shares in per cent."""
    match unit:
        case "share":
            return f"{value:.2%}".replace("%", " %")
        case "s":
            return f"{value:.2f} s" if abs(value) < 100 else f"{value:.0f} s"
        case "x":
            return f"{value:.2f} x" if abs(value) < 10 else f"{value:.1f} x"
        case _:
            return f"{value:,.0f} {unit}"


def _machine_line(machine: Mapping[str, Any]) -> str:
    where = machine["gpu"] or f"{machine['threads']} threads, {machine['instructions']}"
    bf16 = ", bf16 products" if machine["bf16_multiply"] else ""
    versions = f"PyTorch {machine['torch']}, Python {machine['python']}, digitnet {machine['digitnet']}"
    return (
        f"{machine['processor']}, {machine['cores']} cores ({where}{bf16}), {machine['memory_mb']:,} MB of memory, "
        f"{versions} at {machine['commit'] or 'no commit'}, {machine['system']}, {machine['time']}."
    )


def _notes(document: Mapping[str, Any]) -> list[str]:
    """Say how busy and how steady the machine was, and of each noisy part by how much."""
    machine = document["machine"]
    lines = [
        f"Before the start, others took {machine['busy']:.0%} of the processor's time"
        f"{': the machine was busy, so every figure is marked' if machine['busy'] > BUSY else ''}; "
        f"the load average was {machine['load_average_1min']:.2f}."
    ]
    for part in document["parts"].values():
        product = part.get("matrix_product", {})
        if (part.get("others") or 0.0) > BUSY:
            lines.append(f"Noisy: during *{part['title']}*, others took {part['others']:.0%} of the processor's time.")
        if product.get("noisy"):
            lines.append(
                f"Noisy: during *{part['title']}*, one and the same matrix product varied by {product['spread']:.0%} "
                f"({product['min']:,.0f} to {product['max']:,.0f} GFLOP/s; marked from {NOISE:.0%})."
            )
    return lines


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
