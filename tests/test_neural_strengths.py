"""Strengths that learn, in runs of `stepsmith train`: made by their kind, they learn, and go on from a checkpoint."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

from stepsmith.train.neural import loop  # noqa: E402
from stepsmith.train.neural.config import from_dict  # noqa: E402

DIGITS = {
    "name": "toy", "task": {"name": "digits", "hidden": 8}, "solver": {"tolerance": 1e-3},
    "train": {"epochs": 3, "batch": 512, "learning_rate": 0.01},
}  # fmt: skip

BANDIT = {"kind": "bandit", "arms": [0.1, 0.3, 1.0], "every": 1, "budget": 0.1, "seed": 2}
DUAL = {"kind": "dual_ascent", "watch": "validation", "start": 0.3, "every": 2}
LEARNING = {
    "ratio": ("er_mean", {"kind": "ratio", "value": 0.3, "every": 1}),
    "annealed": ("er_mean", {"kind": "ratio", "of": {"kind": "exponential", "l0": 3.0, "l1": 0.3}}),
    "dual ascent": ("er_mean", {"kind": "ratio", "of": DUAL}),
    "bandit": ("er_mean", {"kind": "ratio", "of": BANDIT}),
    "chebyshev": ("sr_mean", {**BANDIT, "bandit": "chebyshev", "context_range": [-3.0, 3.0]}),
    "hypergradient": ("er_mean", {"kind": "hypergradient", "start": 1.0, "warm_up": 2, "every": 2, "terms": 1}),
}


def config(name, strength):
    return from_dict({**DIGITS, "regulariser": {"name": name, "strength": strength}})


def rows_of(folder):
    """The log without seconds."""
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if not k.endswith("_s")} for row in rows]


@pytest.mark.parametrize("kind", LEARNING)
def test_they_learn_and_go_on_to_the_same_numbers(kind, tmp_path, monkeypatch):
    given = config(*LEARNING[kind])
    whole = loop.train(given, out=tmp_path / "whole", progress=False)
    record = loop._Training._record

    def interrupted(self, board):
        record(self, board)
        if self.epoch == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop._Training, "_record", interrupted)
    with pytest.raises(KeyboardInterrupt):
        loop.train(given, out=tmp_path / "parts", progress=False)
    monkeypatch.undo()
    parts = loop.train(given, out=tmp_path / "parts", resume=True, progress=False)
    assert rows_of(parts) == rows_of(whole)
    strengths = [row["strength"] for row in rows_of(whole)[1:]]
    assert len(set(strengths)) == 3 and min(strengths) > 0.0


@pytest.mark.parametrize(
    ("name", "strength", "words"),
    [
        ("er_mean", {"kind": "best_response"}, "'best_response' needs layer"),
        ("er_mean", {"kind": "bandit", "arms": 3}, "strength.arms must be a list"),
        ("er_mean", {"kind": "bandit", "arms": [0.1, "x"]}, r"arms\[1\] must be"),
        ("er_mean", {"kind": "bandit", "bandit": "chebyshev"}, "needs context_range"),
        ("er_mean", {"kind": "bandit", "bandit": "chebyshev", "context_range": [1.0]}, "a list of 2 numbers"),
        ("er_mean", {"kind": "bandit", "seed": 1.5}, "strength.seed must be"),
    ],
)
def test_what_does_not_fit(name, strength, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        loop.train(config(name, strength), out=tmp_path / "run", progress=False)
