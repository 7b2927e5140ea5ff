"""The N-body benchmark: what it cuts short is counted."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from stepsmith.controllers.laws import registry
from stepsmith.integrators.engine.ensemble import solve_ensemble
from stepsmith.integrators.problems.nbody import three_body


@pytest.fixture(scope="module")
def bench():
    path = Path(__file__).parent.parent / "benchmarks" / "hermite_speed.py"
    spec = importlib.util.spec_from_file_location("hermite_speed", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_instances_over_the_limit_are_counted(bench):
    batch = three_body.sampler(np.random.default_rng(0), 16)
    full = solve_ensemble(batch, "hermite4_pec", registry.get("amuse", mu=0.05), max_steps=10_000_000)
    steps = full.stats.naccept + full.stats.nreject
    limit = int(np.median(steps))
    assert full.success.all() and 0 < (steps > limit).sum() < 16
    speed, cut = bench.rate(batch, "hermite4_pec", "amuse", {"mu": 0.05}, 1, limit)
    assert speed > 0.0 and cut == (steps > limit).sum()
    assert bench.rate(batch, "hermite4_pec", "amuse", {"mu": 0.05}, 1, 10_000_000)[1] == 0


def test_the_eights_are_all_alike(bench):
    sol = solve_ensemble(bench.eights(16), "hermite4_pec", registry.get("amuse", mu=0.05))
    assert sol.success.all() and np.ptp(sol.stats.naccept) < 0.05 * sol.stats.naccept.mean()


@pytest.mark.parametrize("flag", ["--lanes=0", "--repeats=0", "--max-steps=-1"])
def test_bad_flags_are_refused(bench, flag, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["hermite_speed.py", flag])
    with pytest.raises(SystemExit) as stop:
        bench.main()
    assert stop.value.code == 2 and "at least" in capsys.readouterr().err
