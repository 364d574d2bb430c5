"""When training ends: each rule by itself, and which is named where several are met. In a whole run: test_engine."""

import time
from dataclasses import replace

import pytest

from digitnet import stopping
from digitnet.config import TrainConfig
from digitnet.metrics import Metrics
from digitnet.stopping import Stopping

CONFIG = TrainConfig(epochs=9)


def validation(correct, loss=1.0):
    """Make metrics of 100 images, all of them 0s."""
    return Metrics(loss=loss, confusion=((correct, 100 - correct, *[0] * 8), *[(0,) * 10] * 9))


@pytest.fixture
def at(monkeypatch):
    """Set the clock, in seconds."""
    monkeypatch.setattr(stopping, "time", type("Clock", (), {"monotonic": staticmethod(lambda: now[0])}))
    now = [100.0]
    return lambda second: now.__setitem__(0, second)


def test_time_is_counted_from_the_start(at):
    rule = Stopping(replace(CONFIG, time_budget_s=5.0), started=100.0)
    for second, is_over in ((100.0, False), (104.9, False), (105.0, True), (200.0, True)):
        at(second)
        assert (rule.elapsed_s, rule.out_of_time) == (pytest.approx(second - 100), is_over)
    assert not Stopping(CONFIG, started=0.0).out_of_time


def test_the_rule_that_is_named_is_the_first_of_those_met(at):
    every = replace(CONFIG, until_accuracy=0.9, patience=1, time_budget_s=5.0)
    at(200.0)
    for config, expected in (
        (every, "until-accuracy"),
        (replace(every, until_accuracy=None), "patience"),
        (replace(every, until_accuracy=None, patience=None), "time-budget"),
        (CONFIG, "epochs"),
    ):
        rule = Stopping(config, started=100.0)
        rule.lowest_loss = 1.0
        assert rule.reason(validation(90), last=True) == expected
    assert Stopping(CONFIG, started=100.0).reason(validation(90), last=False) is None


def test_patience_begins_anew_with_each_lower_loss():
    rule = Stopping(replace(CONFIG, patience=2), started=time.monotonic())
    found = [rule.reason(validation(50, loss), last=False) for loss in (1.0, 1.0, 0.9, 1.0, 0.9)]
    assert found == [None, None, None, None, "patience"]
