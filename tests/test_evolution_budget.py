"""The evolution strategy with a budget of attempts, and what its controllers say of costs that were given."""

import json
import math

import pytest

from stepsmith.integrators.engine.costs import Costs
from stepsmith.train.algorithms import es, es_run, evolution
from stepsmith.train.algorithms.evolution import Settings
from toy_runs import logged, make


def test_when_the_last_generation_is():
    assert not Settings(generations=5).last(4, 10**9) and Settings(generations=5).last(5, 0)
    both = Settings(generations=5, total_steps=100)
    assert not both.last(1, 99) and both.last(1, 100) and both.last(5, 0)
    with pytest.raises(ValueError, match="total_steps"):
        Settings(total_steps=-1)


def test_a_budget_of_attempts_ends_a_run(tmp_path, monkeypatch):
    settings = {"generations": 1000, "population": 4, "instances": 4, "sigma": 0.3, "total_steps": 40_000}
    config = make("es", train=settings)
    es.train(config, tmp_path / "whole", progress=False)
    rows = logged(tmp_path / "whole")
    assert rows[-1]["env_steps"] >= 40_000 and rows[-1]["generation"] < 1000
    before = [r["env_steps"] for r in rows[:-1]]
    assert not before or max(before) < 40_000

    real, seen = evolution.Checkpoint.save, []

    def dying(self, state):
        real(self, state)
        seen.append(state)
        if len(seen) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(evolution, "EVERY", 2)
    monkeypatch.setattr(evolution.Checkpoint, "save", dying)
    with pytest.raises(KeyboardInterrupt):
        es.train(config, tmp_path / "cut", progress=False)
    es.train(config, tmp_path / "cut", resume=True, progress=False)
    assert logged(tmp_path / "cut") == rows
    es.train(config, tmp_path / "cut", resume=True, progress=False)  # there is nothing left to do
    assert logged(tmp_path / "cut") == rows


def test_costs_without_their_seconds_go_into_a_controller_s_provenance():
    facts = es_run.provenance_of({"seed": 1}, {}, {"costs": {"toy": Costs(1.0, 2.0, 3.0).as_dict()}})
    assert math.isnan(Costs().seconds) and facts["costs"]["toy"]["seconds"] is None
    json.dumps(facts, allow_nan=False)
