"""A list that one process reads is done by all: every unit once, streamed, and not read far ahead."""

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice
from pathlib import Path
from time import monotonic, sleep

import pytest
from torch.distributed import HashStore

from digitnet.assignment import Share
from digitnet.bulk import lists, units
from digitnet.bulk.lists import posted_units, start_posting
from digitnet.errors import UsageError
from digitnet.sources import Packed

PATHS = [Path(f"{number}.png") for number in range(23)]
WITH_SHARD = [*PATHS[:7], Path("a.tar"), *PATHS[7:], Path(os.fsdecode(b"\xff.png"))]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(units, "UNIT_PICTURES", 5)
    monkeypatch.setattr(lists, "CHUNK", 2)
    monkeypatch.setattr(lists, "PATIENCE_S", 0.001)


def tickets(store):
    while True:
        yield store.add("tickets", 1) - 1


def work(store, done=None):
    """What one worker does: its units, by number, and how many there are."""
    share = Share(posted_units(store), tickets(store), done or {})
    return {number: ([place for place in unit.places() if place], unit.digest) for number, unit in share}, share.seen


def launch(places, workers=3, done=None):
    store = HashStore()
    start_posting(store, iter(places), workers)
    with ThreadPoolExecutor(workers) as pool:
        ended = [future.result() for future in [pool.submit(work, store, done) for _ in range(workers)]]
    return ended, store


def alone(places):
    return {number: (list(unit.places()), unit.digest) for number, unit in enumerate(units.units(iter(places)))}


@pytest.mark.parametrize("places", [PATHS, WITH_SHARD, PATHS[:5], PATHS[:1], []], ids=len)
def test_every_unit_is_done_once_and_is_the_same_as_in_one_process(places):
    ended, store = launch(places)
    expected = alone(places)
    found = [number for done, _ in ended for number in done]
    assert sorted(found) == list(expected)
    assert {number: unit for done, _ in ended for number, unit in done.items()} == expected
    assert [seen for _, seen in ended] == [len(expected)] * 3
    assert not any(store.check([f"lists/{number}/{chunk}"]) for number in expected for chunk in range(4))


def test_what_is_done_is_only_digested():
    expected = alone(WITH_SHARD)
    done = {number: digest for number, (_, digest) in expected.items() if number % 2}
    ended, _ = launch(WITH_SHARD, done=done)
    assert sorted(number for found, _ in ended for number in found) == [n for n in expected if n not in done]


def test_an_endless_list_is_not_read_far_ahead_and_streams():
    drawn, ended, store = [], [], HashStore()

    def endless():
        for number in count():
            if ended:
                return
            drawn.append(number)
            yield Path(f"{number}.png")

    start_posting(store, endless(), 2)
    going = iter(Share(posted_units(store), tickets(store), {}))
    for _ in range(4):
        _, unit = next(going)
        assert len([place for place in unit.places() if place]) == 5  # None says that more has to be waited for
    sleep(0.3)
    assert len(drawn) <= (4 + 2 * lists.AHEAD + 1) * 5
    ended.append("now")
    store.add("lists/begun", 10)


def test_lines_are_handed_on_before_a_unit_is_whole():
    store, waiting = HashStore(), []

    def slow():
        yield from PATHS[:3]
        yield None
        while not waiting:
            sleep(0.001)
        yield PATHS[3]

    start_posting(store, slow(), 1)
    (unit,) = islice(posted_units(store), 1)
    places, deadline = unit.places(), monotonic() + 10
    assert list(islice((p for p in places if p), 3)) == PATHS[:3]
    assert next(places) is None  # what has come is to be answered
    waiting.append("seen")
    assert [place for place in places if place] == [PATHS[3]]
    assert monotonic() < deadline


def test_what_goes_wrong_with_the_list_is_told_to_all():
    def broken():
        yield from PATHS[:6]
        raise UsageError("stdin holds neither")

    store = HashStore()
    start_posting(store, broken(), 1)
    with pytest.raises(UsageError, match="stdin holds neither"):
        work(store)
    store = HashStore()
    start_posting(store, iter([Packed(path="-", data=b"\x89PNG")]), 1)
    with pytest.raises(UsageError, match="a picture on stdin is read by one process"):
        work(store)


def test_what_goes_wrong_with_the_list_ends_all():
    def places():
        yield PATHS[0]
        raise OSError("the list is gone")

    store = HashStore()
    start_posting(store, places(), 1)
    with pytest.raises(UsageError, match="the list on stdin cannot be read: the list is gone"):
        work(store)
