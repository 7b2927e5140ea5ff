"""Calls in an interpreter of their own, and the clocks that use them."""

import os
import threading

import numpy as np
import pytest

from stepsmith.controllers.laws import registry
from stepsmith.integrators.compile import cache
from stepsmith.train.evaluate import contestants, fresh
from stepsmith.train.evaluate.clock import single_clock, wall_clock
from stepsmith.train.evaluate.splits import draw
from stepsmith.train.evaluate.turns import Programme, Turn
from stepsmith.train.run.progress import Progress


def test_another_process_makes_the_call():
    factor = 3.0

    def local(x):  # goes by value, with what it closes over
        print("standard output does not disturb the result")
        return os.getpid(), factor * x

    pid, value = fresh.call(local, np.arange(4.0))
    assert pid != os.getpid()
    np.testing.assert_array_equal(value, [0.0, 3.0, 6.0, 9.0])


def test_a_call_that_cannot_be_made_says_why():
    def fails():
        raise ArithmeticError("no such number")

    with pytest.raises(fresh.NotFresh, match="ArithmeticError: no such number"):
        fresh.call(fails)
    with pytest.raises(fresh.NotFresh, match="pickle"):
        fresh.call(len, threading.Lock())
    with pytest.raises(fresh.NotFresh, match="status 7"):
        fresh.call(os._exit, 7)


def test_a_program_without_an_interpreter_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(fresh.sys, "executable", str(tmp_path / "none"))
    with pytest.raises(fresh.NotFresh, match="FileNotFoundError"):
        fresh.call(len, "abc")


@pytest.fixture(scope="module")
def table():
    split = draw("lotka_volterra", "tsit5", "test", 4, 4)
    laws = [contestants.by_tolerance(name, "classical", registry.get(name), split) for name in ("pi34", "i")]
    return split, [(e, e.sweep(split)) for e in laws]


def test_the_seconds_of_a_turn_are_those_of_all_its_copies(table):
    """A rate is that of one evaluation, whatever the number of copies."""
    split, ((e, s), _) = table
    rows = np.arange(len(split.batch))
    work = float(s.work[:, 0].sum())
    one, many = (Programme(split, 50_000, ((e, (Turn(0, rows, c, c * work),)),)).round(0)[0, 0] for c in (8, 64))
    assert 0.2 < one / many < 5.0


def rates(clock, table, said):
    bar = Progress("x", 1, "x", False)
    found = clock(table[1], table[0], 2, 50_000, bar, said, True)
    bar.close()
    return found


@pytest.mark.parametrize("clock", [wall_clock, single_clock])
def test_every_round_is_taken_in_a_process_of_its_own(clock, table, monkeypatch):
    calls, call = [], fresh.call
    monkeypatch.setattr(fresh, "call", lambda *a: calls.append(a) or call(*a))
    said = []
    found = rates(clock, table, said)
    assert len(calls) == 2 and said == []
    for name in ("pi34", "i"):
        assert (found[name].seconds > 0.0).all() and found[name].rounds.shape[0] == 2


def test_rounds_that_cannot_be_are_taken_here_and_it_is_said(table, monkeypatch):
    def no(*_):
        raise fresh.NotFresh("cannot pickle a lamp")

    monkeypatch.setattr(fresh, "call", no)
    said = []
    assert (rates(wall_clock, table, said)["pi34"].seconds > 0.0).all()
    assert len(said) == 1 and "cannot pickle a lamp" in said[0] and "leave out where a process" in said[0]

    monkeypatch.setattr(fresh, "call", lambda *_: pytest.fail("a process would compile everything again"))
    monkeypatch.setattr(cache, "fleeting", lambda: frozenset({"tsit5 for a lambda"}))
    said = []
    assert (rates(wall_clock, table, said)["i"].seconds > 0.0).all()
    assert len(said) == 1 and "cannot be kept on disk" in said[0]
