"""`stepsmith.online`: a sweep goes on from a file or a pickle; files of others are refused."""

from __future__ import annotations

import json
import math
import pickle

import pytest

import stepsmith as ss
from online_cases import LAWS, OPEN, log_mu, problems


@pytest.fixture(scope="module")
def batch():
    return problems()


@pytest.mark.parametrize("bandit", ["tsallis", "chebyshev", "epsilon_greedy", "fixed"])
def test_a_sweep_goes_on_from_a_file_and_from_a_pickle(tmp_path, batch, bandit):
    context = {"context": log_mu, "context_range": (-1.0, 3.0)} if bandit == "chebyshev" else {}

    def make(seed):
        return ss.online(LAWS, bandit=bandit, seed=seed, **context)

    whole, half = make(3), make(3)
    for problem in batch:
        whole.solve(problem)
    half.solve(batch[0])
    for problem in batch[1:20]:
        half.solve(problem)
    half.save(tmp_path / "sweep.json")
    for tuner in (make(77).load(tmp_path / "sweep.json"), pickle.loads(pickle.dumps(half))):
        assert tuner.penalty == half.penalty
        for problem in batch[20:]:
            tuner.solve(problem)
        assert tuner.history == whole.history
        assert tuner.report() == whole.report()


def test_failures_are_in_the_file(tmp_path):
    tuner = ss.online([1, 2], **OPEN)
    for cost in (math.nan, 3.0, math.inf):
        tuner.ask()
        tuner.tell(cost)
    tuner.save(tmp_path / "a.json")
    assert ss.online([1, 2], **OPEN).load(tmp_path / "a.json").report() == tuner.report()


def test_files_of_others_and_damaged_ones_are_refused(tmp_path):
    path = tmp_path / "a.json"
    tuner = ss.online([1, 2], **OPEN)
    tuner.ask()
    tuner.tell(1.0)
    tuner.save(path)
    good = json.loads(path.read_text())
    with pytest.raises(FileNotFoundError):
        tuner.load(tmp_path / "none.json")
    for other, what in (
        (ss.online([1, 3], **OPEN), "its arms are not those"),
        (ss.online([1, 2], bandit="fixed", **OPEN), "state must be of bandit 'fixed'"),
        (ss.online([1, 2], wanted_error=1.0, **OPEN), "its wanted_error is None"),
    ):
        with pytest.raises(ValueError, match=what):
            other.load(path)
        assert other.history == []
    for bad, what in (
        ({**good, "schema": 9}, "no tuner's state"),
        ([], "no tuner's state"),
        ({**good, "history": [[0, 1.0, 1.0]]}, "a round of the history"),
        ({**good, "history": [[5, 1.0, 1.0, 0]]}, "arm must be"),
        ({**good, "history": None}, "history must be"),
        ({**good, "bandit": 3}, "bandit must be"),
        ({**good, "bandit": {**good["bandit"], "_sum": "x"}}, "_sum of the state"),
    ):
        path.write_text(json.dumps(bad))
        fresh = ss.online([1, 2], **OPEN)
        with pytest.raises(ValueError, match=f"a.json.*{what}"):
            fresh.load(path)
        assert fresh.history == [] and fresh.bandit.rounds == 0
    path.write_text("{")
    with pytest.raises(ValueError, match="not valid JSON"):
        tuner.load(path)
