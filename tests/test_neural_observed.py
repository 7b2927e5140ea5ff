"""What the log of a run says of strengths: ratio, mean E h and S h; and logs and checkpoints without these columns."""

from __future__ import annotations

import json
import math

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

import stepsmith as ss  # noqa: E402
from stepsmith.train.neural import loop  # noqa: E402
from stepsmith.train.neural.config import from_dict  # noqa: E402
from stepsmith.train.neural.observed import step_means  # noqa: E402

NEW = ("ratio", "er_mean", "sr_mean")


def config(regulariser=None, epochs=1, every=1):
    given = {
        "name": "toy", "task": {"name": "digits", "hidden": 4}, "solver": {"tolerance": 1e-3},
        "train": {"epochs": epochs, "batch": 512, "learning_rate": 0.01, "evaluate_every": every},
    }  # fmt: skip
    return from_dict(given if regulariser is None else {**given, "regulariser": regulariser})


def rows_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("per_sample", [False, True])
def test_means_are_the_penalties_of_that_name(per_sample):
    torch.manual_seed(0)
    net, y0 = torch.nn.Linear(3, 3).double(), torch.randn(5, 3, dtype=torch.float64)
    for name in ("er_mean", "sr_mean"):
        ode = ss.neural.NeuralODE(
            lambda t, y: 4.0 * torch.tanh(net(y)), rtol=1e-4, atol=1e-4, per_sample=per_sample, regulariser=name
        )
        out = ode(y0, [0.0, 1.0])
        assert step_means(out.solution)[name] == pytest.approx(out.penalty.item(), rel=1e-12) and out.penalty > 0


def test_a_method_without_stiffness_estimate_and_a_solve_without_estimates():
    y0, f = torch.ones(2, 1, dtype=torch.float64), lambda t, y: -y
    found = step_means(ss.neural.odeint(f, y0, [0.0, 1.0], method="bs32"))
    assert found["er_mean"] > 0 and math.isnan(found["sr_mean"])
    assert all(math.isnan(x) for x in step_means(ss.neural.odeint(f, y0, [0.0, 1.0], heuristics=False)).values())


def test_columns_of_the_log(tmp_path):
    ratio = {"kind": "ratio", "of": {"kind": "linear", "l0": 0.6, "l1": 0.2}, "every": 1}
    given = config({"name": "er_mean", "strength": ratio})
    first, last = rows_of(loop.train(given, out=tmp_path / "a", progress=False))
    assert all(first[name] is None for name in NEW)
    # three iterations, at 0.6, 0.6 - 0.4 / 3 and 0.6 - 0.8 / 3
    assert last["ratio"] == pytest.approx(0.6 - 0.4 / 3, rel=1e-9)
    assert last["er_mean"] == pytest.approx(last["penalty"], rel=1e-9) and last["sr_mean"] > 0
    raw = {"kind": "constant", "value": 2.0}
    row = rows_of(loop.train(config({"name": "sr_mean", "strength": raw}), out=tmp_path / "b", progress=False))[-1]
    assert row["ratio"] is None and row["sr_mean"] == pytest.approx(row["penalty"], rel=1e-9) and row["er_mean"] > 0
    row = rows_of(loop.train(config(), out=tmp_path / "c", progress=False))[-1]
    assert all(row[name] is None for name in NEW) and row["strength"] == 0.0


def test_a_run_that_began_without_the_columns_goes_on(tmp_path, monkeypatch):
    given = config({"name": "er_mean", "strength": {"kind": "ratio", "value": 0.3}}, epochs=4, every=2)
    state, log = loop._Training._state, loop.NeuralRun.log

    def older(names, of):
        return {k: v for k, v in of.items() if k not in names}

    def interrupted(self):
        found = state(self)
        if self.epoch == 3:  # half way to the next row
            raise KeyboardInterrupt
        return {**found, "tally": older(NEW, found["tally"])}

    whole = rows_of(loop.train(given, out=tmp_path / "whole", progress=False))
    with monkeypatch.context() as patch:
        patch.setattr(loop._Training, "_state", interrupted)
        patch.setattr(loop.NeuralRun, "log", lambda self, row: log(self, older(NEW, row)))
        with pytest.raises(KeyboardInterrupt):
            loop.train(given, out=tmp_path / "r", progress=False)
    rows = rows_of(loop.train(given, out=tmp_path / "r", resume=True, progress=False))
    assert [set(NEW) <= set(row) for row in rows] == [False, False, True]
    assert rows[-1]["ratio"] == pytest.approx(0.3) and rows[-1]["loss"] == whole[-1]["loss"]
    lines = (tmp_path / "r" / "log.csv").read_text().splitlines()
    assert len({line.count(",") for line in lines}) == 1 and lines[0].split(",") == list(rows[-1])


def test_a_mean_that_lacks_its_first_iterations_is_not_told(tmp_path):
    given = config({"name": "er_mean", "strength": {"kind": "ratio", "value": 0.3}}, epochs=2, every=2)
    begun = loop._Training(given, tmp_path / "r", False)
    begun._train_epoch()
    found = begun._state()
    found["tally"] = {k: v for k, v in found["tally"].items() if k not in NEW}
    again = loop._Training(given, tmp_path / "s", False)
    again._restore(found)
    again._train_epoch()
    assert again.counted == 6 and all(math.isnan(again.tally[name]) for name in NEW) and again.tally["loss"] > 0
