"""A report as one page of HTML, with all its pictures inside, for any browser: no server, no network, no script."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from PIL import Image

from digitnet import __version__
from digitnet.drawing import probability_text
from digitnet.evaluation import Sureness
from digitnet.explain.evaluation.figures import confusions
from digitnet.explain.evaluation.mistakes import Mistake
from digitnet.metrics import Metrics

GENERATOR = '<meta name="generator" content="digitnet eval --report">'
MOST_SHOWN = 100  # mistakes
# No address but those inside the page may be opened, whatever stands in it.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE = """
:root { color-scheme: light dark; --page: #fff; --ink: #1d1d1f; --quiet: #5c5c62; --line: #d7d7dc; --card: #f4f4f6; }
@media (prefers-color-scheme: dark) {
  :root { --page: #16161a; --ink: #ececf0; --quiet: #a3a3ad; --line: #3a3a42; --card: #222228; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 75rem; background: var(--page); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .25rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; }
p { margin: .25rem 0 .75rem; max-width: 45rem; }
.quiet, figcaption, caption { color: var(--quiet); }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .75rem; margin: 1.25rem 0; }
dl div { background: var(--card); border-radius: .5rem; padding: .75rem 1rem; }
dt { color: var(--quiet); font-size: .9rem; }
dd { margin: 0; font-size: 1.4rem; font-weight: 600; }
dd small { display: block; font-size: .85rem; font-weight: 400; color: var(--quiet); }
.drawn { display: block; width: 100%; max-width: 1200px; height: auto; background: #fff; border-radius: .5rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .5rem 0; }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid var(--line); font-weight: 400; }
thead th { color: var(--quiet); }
caption { text-align: left; padding-bottom: .25rem; }
summary { cursor: pointer; color: var(--quiet); margin: .5rem 0; }
ol { list-style: none; margin: 0; padding: 0; display: grid; gap: .75rem;
  grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); }
li figure { margin: 0; background: var(--card); border-radius: .5rem; padding: .6rem; }
li img { display: block; width: 100%; height: auto; image-rendering: pixelated; border-radius: .25rem; }
figcaption { font-size: .85rem; margin-top: .4rem; }
figcaption b { color: var(--ink); font-weight: 600; }
"""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What was evaluated, and what was counted."""

    network: str
    """The checkpoint's name, for people."""
    dataset: str
    split: str
    loss: str
    """Name of the loss."""
    metrics: Metrics

    @property
    def source(self) -> str:
        """What figures say below of where their numbers come from."""
        return f"logits of {self.network}: {self.metrics.count:,} x 10, of {self.dataset}, {self.split}"


def page(
    evaluation: Evaluation, sureness: Sureness, mistakes: Sequence[Mistake], *, confusion: bytes, reliability: bytes
) -> str:
    """Write the page.

    Args:
        evaluation: What was counted.
        sureness: How sure it was, and what it gains by turning images away.
        mistakes: What was read wrongly, in the order to show it.
        confusion: The confusion matrix's figure, as PNG.
        reliability: The reliability diagram, likewise.
    """
    title = f"How {evaluation.network} reads {evaluation.dataset}"
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="quiet">{evaluation.metrics.count:,} labelled images: {escape(evaluation.dataset)}, '
        f"{escape(evaluation.split)}</p>",
        _figures(evaluation, sureness),
        _confusion(evaluation.metrics, confusion),
        _reliability(sureness, reliability),
        _gallery(mistakes),
        _digits(evaluation.metrics),
        _coverage(sureness),
        f'<p class="quiet">Made by digitnet {escape(__version__)}, by digitnet eval --report. '
        "Every number and every picture on this page is of this evaluation; nothing is loaded from elsewhere.</p>",
    ]
    return _document(title, body)


def _document(title: str, body: Sequence[str]) -> str:
    """Put the parts of a body into a page that may open nothing but what it holds."""
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            GENERATOR,
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            "</head>",
            "<body>",
            *body,
            "</body>",
            "</html>",
            "",
        ]
    )


def _figures(evaluation: Evaluation, sureness: Sureness) -> str:
    m, (low, high) = evaluation.metrics, evaluation.metrics.interval
    rows = (
        ("accuracy", f"{m.accuracy:.2%}", f"95% interval {low:.2%} to {high:.2%}"),
        ("errors", f"{m.count - m.correct:,}", f"of {m.count:,} images"),
        ("loss", f"{m.loss:.4f}", evaluation.loss),
        ("sureness", f"{sureness.reliability.error:.2%} off", "expected calibration error"),
    )
    parts = (f"<div><dt>{n}</dt><dd>{v}<small>{escape(more)}</small></dd></div>" for n, v, more in rows)
    return f"<dl>{''.join(parts)}</dl>"


def _confusion(metrics: Metrics, figure: bytes) -> str:
    worst = confusions(metrics)
    said = f"the most frequent error is {worst[0][1]} read as {worst[0][2]}, {worst[0][0]:,} times" if worst else ""
    alt = f"Confusion matrix: {metrics.correct:,} of {metrics.count:,} images on the diagonal; {said or 'no errors'}."
    rows = ((str(digit), *map("{:,}".format, row)) for digit, row in enumerate(metrics.confusion))
    table = _table("Rows: the true digit; columns: what the network read.", ("digit", *map(str, range(10))), rows)
    return _section("What is taken for what", "", f"{_drawn(figure, alt)}{_details(table)}")


def _reliability(sureness: Sureness, figure: bytes) -> str:
    bins = sureness.reliability.bins
    surest = bins[-1]
    alt = (
        f"Reliability diagram of {len(bins)} bins: of the {surest.count:,} surest answers, which are "
        f"{surest.confidence:.2%} sure on average, {surest.accuracy:.2%} are right."
    )
    rows = ((f"{b.low:.1%} to {b.high:.1%}", f"{b.confidence:.2%}", f"{b.count:,}", f"{b.accuracy:.2%}") for b in bins)
    table = _table("Answers by how sure they are.", ("confidence", "mean", "images", "right"), rows)
    text = "Of answers that are 90% sure, 90% should be right: then the points lie on the dotted line."
    return _section("Is it as sure as it is right?", text, f"{_drawn(figure, alt)}{_details(table)}")


def _gallery(mistakes: Sequence[Mistake]) -> str:
    if not mistakes:
        return _section("The worst errors", "There are none.", "")
    shown = mistakes[:MOST_SHOWN]
    text = f"Those that the network was surest of come first: {len(shown)} of {len(mistakes):,}."
    return _section("The worst errors", text, f"<ol>{''.join(map(_mistake, shown))}</ol>")


def _mistake(mistake: Mistake) -> str:
    picture = io.BytesIO()
    Image.fromarray(mistake.pixels).save(picture, "PNG")
    m, alt = mistake, f"Image {mistake.index}: a {mistake.truth} that was read as {mistake.answer}"
    truth = f"a <b>{m.truth}</b> ({escape(probability_text(m.truth_probability))})"
    answer = f"read as <b>{m.answer}</b> ({escape(probability_text(m.confidence))})"
    return (
        f'<li><figure><img src="{_data(picture.getvalue())}" width="28" height="28" alt="{alt}">'
        f"<figcaption>{truth}<br>{answer}<br>image {m.index}</figcaption></figure></li>"
    )


def _digits(metrics: Metrics) -> str:
    rows = (
        (str(digit), f"{s.precision:.2%}", f"{s.recall:.2%}", f"{s.f1:.2%}", f"{s.support:,}")
        for digit, s in enumerate(metrics.per_digit)
    )
    table = _table("Each digit against the others.", ("digit", "precision", "recall", "F1", "images"), rows)
    return _section("Digit by digit", "", table)


def _coverage(sureness: Sureness) -> str:
    rows = (
        (
            f"{c.reject_rate:.1%}",
            f"{1 - c.coverage:.2%}",
            f"{c.answered:,}",
            "" if c.accuracy is None else f"{c.accuracy:.2%}",
            f"{c.errors:,}",
        )
        for c in sureness.coverages
    )
    head = ("--reject-rate", "turned away", "answered", "right", "errors")
    return _section(
        "What turning away gains", "", _table("What the score turns away here, and what is left.", head, rows)
    )


def _section(title: str, text: str, body: str) -> str:
    return f"<section><h2>{title}</h2>{f'<p>{text}</p>' if text else ''}{body}</section>"


def _details(table: str) -> str:
    return f"<details><summary>the same as a table</summary>{table}</details>"


def _table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    heads = "".join(f'<th scope="col">{name}</th>' for name in head)
    lines = (
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{value}</td>" for value in others)}</tr>'
        for first, *others in rows
    )
    return (
        f'<div class="scroll"><table><caption>{caption}</caption><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _drawn(figure: bytes, alt: str) -> str:
    return f'<img class="drawn" src="{_data(figure)}" alt="{escape(alt)}">'


def _data(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
