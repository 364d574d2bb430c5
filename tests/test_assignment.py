"""Every unit of a bulk prediction is done, and its answers are taken once, whoever dies and however often."""

from dataclasses import dataclass
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digitnet.assignment import Share, left
from digitnet.errors import DataError


@dataclass(frozen=True)
class Named:
    digest: str

    def __str__(self):
        return f"unit {self.digest}"


def units(number):
    return [Named(f"{place:08x}") for place in range(number)]


def launch(listed, done, workers, steps):
    """Let workers go on in the order of `steps` until these are over, as when one of them dies; return what was done.

    Each step starts a worker's next unit, and with that finishes the one before.
    """
    tickets, snapshot = count(), dict(done)
    shares = [iter(Share(iter(listed), tickets, snapshot)) for _ in range(workers)]
    under_way, finished = {}, []
    for step in steps:
        worker = step % workers
        if worker in under_way:
            number, unit = under_way.pop(worker)
            done[number] = unit.digest
            finished.append(number)
        if (taken := next(shares[worker], None)) is not None:
            under_way[worker] = taken
    return finished


@given(
    number=st.integers(0, 40),
    launches=st.lists(st.tuples(st.integers(1, 5), st.lists(st.integers(0, 100), max_size=30)), max_size=6),
    workers=st.integers(1, 5),
)
def test_every_unit_is_done_exactly_once_whatever_fails(number, launches, workers):
    listed, done, finished = units(number), {}, []
    for size, steps in launches:
        finished += launch(listed, done, size, steps)
    finished += launch(listed, done, workers, list(range(workers)) * (number + 2))
    assert sorted(finished) == list(range(number))
    assert done == {place: unit.digest for place, unit in enumerate(listed)}
    assert left(done, number) == []


@given(st.integers(1, 20), st.sets(st.integers(0, 19)), st.integers(1, 4))
def test_a_launch_does_only_what_is_missing_and_knows_how_many_there_are(number, chosen, workers):
    done = {place: f"{place:08x}" for place in chosen if place < number}
    tickets, snapshot = count(), dict(done)
    shares = [Share(iter(units(number)), tickets, snapshot) for _ in range(workers)]
    taken = [place for share in shares for place, _ in share]
    assert sorted(taken) == left(done, number) == [place for place in range(number) if place not in done]
    assert [share.seen for share in shares] == [number] * workers


def test_a_ticket_is_drawn_only_when_a_unit_is_asked_for():
    tickets = count()
    going = iter(Share(iter(units(3)), tickets, {}))
    assert next(going)[0] == 0
    assert next(tickets) == 1  # as another worker draws it
    assert [number for number, _ in going] == [2]


def test_digests_are_asked_of_none_but_the_units_that_are_done():
    class Costly:
        digest = property(lambda _: pytest.fail("was asked for its digest"))

    assert [number for number, _ in Share([Costly(), Costly()], count(), {})] == [0, 1]


def test_inputs_that_changed_are_noticed():
    with pytest.raises(DataError, match="the inputs have changed: unit 00000001 stands where another one was done"):
        list(Share(units(3), count(), {0: "00000000", 1: "something"}))
    with pytest.raises(DataError, match="they have 2 units, and 1 others were done"):
        left({0: "", 1: "", 5: ""}, 2)
