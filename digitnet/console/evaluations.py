"""What evaluations counted, for people: on one set, of two networks, over the suite."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from digitnet.console.tables import new_table, print_pairs, print_record, print_table, terminal_width, wrapped
from digitnet.errors import printable

if TYPE_CHECKING:
    from rich.table import Table

    from digitnet.comparison import Comparison
    from digitnet.data.digits import Digits
    from digitnet.evaluation import Sureness, Telling
    from digitnet.metrics import Metrics
    from digitnet.predictor import Classifier
    from digitnet.suite import SuiteRow

MEAN_LABEL = "mean of the copies"
SHORTEST_LABELS = 24  # holds the names of all copies; a folder's may be cut


def print_evaluation(
    classifier: Classifier, digits: Digits, split: str, metrics: Metrics, sureness: Sureness, elapsed_s: float
) -> None:
    """Show what an evaluation counted."""
    low, high = metrics.interval
    print_pairs(
        ("data", f"{digits.name}, {split}: {metrics.count:,} images"),
        ("accuracy", f"{metrics.accuracy:.2%}, 95% interval {low:.2%} to {high:.2%}"),
        ("errors", f"{metrics.count - metrics.correct:,}"),
        ("loss", f"{metrics.loss:.4f} ({classifier.checkpoint.config.train.loss})"),
        ("sureness", f"{sureness.reliability.error:.2%} off on average (expected calibration error)"),
        ("speed", f"{metrics.count / elapsed_s:,.0f} images/s on {classifier.device.type}"),
    )
    scores = new_table("digit", "precision", "recall", "F1", "images")
    for digit, s in enumerate(metrics.per_digit):
        scores.add_row(str(digit), f"{s.precision:.2%}", f"{s.recall:.2%}", f"{s.f1:.2%}", f"{s.support:,}")
    confusion = new_table("digit", *map(str, range(10)))
    for digit, row in enumerate(metrics.confusion):
        confusion.add_row(str(digit), *(f"{count:,}" if count else "." for count in row))
    print_table(scores)
    print(wrapped("rows: the true digit; columns: what the network read", 0))
    print_table(confusion)
    print(wrapped("answers by how sure they are, and what share of them is right", 0))
    print_table(_reliability_table(sureness))
    print(wrapped("what the score turns away here at each --reject-rate, and what share of the rest is right", 0))
    print_table(_coverage_table(sureness))


def _reliability_table(sureness: Sureness) -> Table:
    table = new_table("confidence", "mean", "images", "right", "too sure by")
    for b in sureness.reliability.bins:
        shares = (f"{b.confidence:.2%}", f"{b.count:,}", f"{b.accuracy:.2%}", f"{b.confidence - b.accuracy:+.2%}")
        table.add_row(f"{b.low:.1%} to {b.high:.1%}", *shares)
    return table


def _coverage_table(sureness: Sureness) -> Table:
    table = new_table("reject rate", "turned away", "answered", "right", "errors")
    for row in sureness.coverages:
        right = "" if row.accuracy is None else f"{row.accuracy:.2%}"
        counts = (f"{row.answered:,}", right, f"{row.errors:,}")
        table.add_row(f"{row.reject_rate:.1%}", f"{1 - row.coverage:.2%}", *counts)
    return table


def print_telling(telling: Telling) -> None:
    """Show how well digits were told from what is none."""
    from digitnet.evaluation import RATES_SHOWN

    print()
    print_pairs(
        ("no digits", f"{telling.count:,} pictures; one of the digits scores above one of them {telling.auroc:.2%} of"),
        ("", "the time (area under the ROC curve); accepted of them, by --reject-rate:"),
    )
    table = new_table("reject rate", "accepted")
    for rate, share in zip(RATES_SHOWN, telling.accepted, strict=True):
        table.add_row(f"{rate:.1%}", f"{share:.2%}")
    print_table(table)


def print_comparison(other: Classifier, comparison: Comparison) -> None:
    """Show how another network did on the images of an evaluation, and what the difference means."""
    c = comparison
    print()
    print_pairs(
        ("against", f"{other.name}: accuracy {c.other_accuracy:.2%}, {c.count - c.other_correct:,} errors"),
        ("only one", f"read rightly by this network alone: {c.only_this:,}; by the other alone: {c.only_other:,}"),
        ("p-value", f"{_p_value(c.p_value)} (McNemar's exact test)"),
        ("so", c.conclusion),
    )


def print_suite(rows: Iterable[SuiteRow], labels: Sequence[str]) -> list[SuiteRow]:
    """Show each row of the suite as soon as it is there, and return them all.

    Args:
        rows: What ``suite_rows`` yields.
        labels: What these rows will be called.
    """
    shown: list[SuiteRow] = []
    width = _width(labels, 46)
    if width:
        print(f"{'set':<{width}}{'images':>8}{'accuracy':>10}{'95% interval':>20}{'errors':>8}", flush=True)
    for row in rows:
        if shown and shown[-1].variant and not row.variant:
            _print_mean(shown, width)
        m, (low, high) = row.metrics, row.metrics.interval
        interval = f"{low:.2%} to {high:.2%}"
        if width:
            figures = f"{m.count:8,}{m.accuracy:10.2%}{interval:>20}{m.count - m.correct:8,}"
            print(f"{_fitted(row.label, width)}{figures}", flush=True)
        else:
            shares = (("images", f"{m.count:,}"), ("accuracy", f"{m.accuracy:.2%}"), ("95% interval", interval))
            print_record(("", printable(row.label)), *shares, ("errors", f"{m.count - m.correct:,}"))
        shown.append(row)
    if shown[-1].variant:
        _print_mean(shown, width)
    return shown


def _print_mean(rows: Sequence[SuiteRow], width: int) -> None:
    from digitnet.suite import mean_of_copies

    mean = mean_of_copies(rows)[0]
    print(f"{MEAN_LABEL:<{width}}{'':8}{mean:10.2%}" if width else f"{MEAN_LABEL}: {mean:.2%}")


def print_suite_comparison(other: Classifier, rows: Sequence[SuiteRow]) -> None:
    """Show how another network did on the sets of the suite."""
    from digitnet.suite import mean_of_copies

    width = _width([row.label for row in rows], 50)
    print(f"\nagainst {printable(other.name)}")
    if width:
        print(f"{'set':<{width}}{'accuracy':>10}{'other':>9}{'only this':>11}{'only other':>12}{'p':>7}")
    for row in rows:
        if c := row.comparison:
            star = "*" if c.significant else ""
            if width:
                counts = f"{c.only_this:11,}{c.only_other:12,}{_p_value(c.p_value):>7}{star}"
                print(f"{_fitted(row.label, width)}{c.accuracy:10.2%}{c.other_accuracy:9.2%}{counts}")
            else:
                shares = (("accuracy", f"{c.accuracy:.2%}"), ("other", f"{c.other_accuracy:.2%}"))
                only = (("only this", f"{c.only_this:,}"), ("only other", f"{c.only_other:,}"))
                print_record(("", printable(row.label)), *shares, *only, ("p", f"{_p_value(c.p_value)}{star}"))
    this, that = mean_of_copies(rows)
    line = f"{MEAN_LABEL:<{width}}{this:10.2%}{that:9.2%}"
    print(line if width else f"{MEAN_LABEL}: {this:.2%}, other {that:.2%}")
    width = min(terminal_width(), 76)
    print(wrapped("only this, only other: images that one network alone reads rightly", 2, width))
    print(wrapped("p: how often chance alone would make such a difference (McNemar's exact test)", 2, width))
    chance = "Without it, the difference may be chance; and of twenty rows that chance decides, about one gets a *"
    print(wrapped(f"*: unlikely to be chance. {chance} all the same.", 2, width))


def _p_value(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "<0.001"


def _width(labels: Sequence[str], figures: int) -> int:
    """Return how wide a table's labels may be beside so many columns of figures; 0 where it has to be told in text."""
    wanted, left = max(len(printable(label)) for label in (*labels, MEAN_LABEL)), min(terminal_width(), 80) - figures
    return min(wanted, left) if left >= min(wanted, SHORTEST_LABELS) else 0


def _fitted(label: str, width: int) -> str:
    """Bring a label to a width; of a path that is too long, the end says more than the beginning."""
    shown = printable(label)
    return f"{shown:<{width}}" if len(shown) <= width else f"...{shown[3 - width :]}"
