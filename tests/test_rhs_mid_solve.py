"""Right-hand sides that break their contract in the middle of a solve: an unsuccessful status, never a wrong number."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stepsmith.controllers.laws import registry
from stepsmith.integrators.engine.ensemble import solve_ensemble
from stepsmith.integrators.engine.solve import solve
from stepsmith.integrators.problems.problem import Problem
from stepsmith.integrators.reference.gbs import reference

LAW = registry.get("pi34")
ROOT = Path(__file__).resolve().parents[1]


def problem(rhs) -> Problem:
    return Problem(rhs, [1.0, 2.0], (0.0, 1.0), [1.0])


def write_late(t, y, p, dy):
    dy[0] = 1.0
    dy[1] = 0.0
    if t > 0.5:
        y[0] = 1.0


def test_what_the_first_call_does_not_reach_the_compiler_refuses():
    words = r"^right-hand side 'write_late' cannot be compiled: y and p cannot be written to.*test_rhs_mid_solve.py"
    with pytest.raises(ValueError, match=words):
        solve(problem(write_late), "bs32", LAW)
    with pytest.raises(ValueError, match=words):
        solve_ensemble(problem(write_late).batch(), "bs32", LAW)


def late_gap(t, y, p, dy):
    dy[0] = 1.0
    if t < 0.5:
        dy[1] = 2.0


@pytest.mark.parametrize("method", ["bs32", "rodas5p"])
def test_a_component_left_out_later_ends_the_solve(method):
    one = solve(problem(late_gap), method, LAW, max_steps=2000)
    assert not one.success
    np.testing.assert_allclose(one.t[-1], 0.5, atol=1e-6)
    np.testing.assert_allclose(one.y[-1], [1.5, 3.0], rtol=1e-6)
    if method == "bs32":
        many = solve_ensemble(problem(late_gap).batch(), method, LAW, max_steps=2000)
        assert not many.success[0] and many.status[0] == one.status


def test_references_do_not_keep_what_is_left_out():
    assert not reference(problem(late_gap), [1.0], cache=False).ok[0]


def run_faults(*args, **env) -> dict[str, str]:
    """Lines of `helpers/rhs_faults.py`, by the right-hand side's name; a crash fails."""
    settings = {**os.environ, **env}
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/helpers/rhs_faults.py"), *args], capture_output=True, text=True, timeout=300,
        env=settings
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "end"
    return {line.split()[0]: line.split(maxsplit=2)[2] for line in lines[:-1]}


def test_indices_that_leave_the_arrays_in_mid_solve():
    found = run_faults()
    for name, at in (("reads", 0.2), ("writes", 0.5), ("below", 0.2), ("parameters", 0.5), ("jacobian", 0.5)):
        status, t = found[name].split()
        assert int(status) < 0, (name, found[name])
        assert at - 1e-6 <= float(t) < at + (0.1 if name == "jacobian" else 1e-6), (name, t)
    for name, at in (
        ("swallowed_by_max", 0.2),
        ("swallowed_by_a_branch", 0.2),
        ("overwritten", 0.5),
        ("in_a_helper", 0.5),
    ):
        for host in (name, f"{name}_lanes"):  # the value is not used, or NaN decides like a number
            status, t = found[host].split()
            assert int(status) < 0 and abs(float(t) - at) < 1e-6, (host, t)
    for kind in ("dense", "band", "sparse"):
        status, t = found[f"overwritten_jacobian_{kind}"].split()
        assert int(status) < 0 and 0.5 - 1e-6 <= float(t) < 0.8, (kind, found)
    assert found["table"].startswith(
        "ValueError right-hand side 'table' indexes an array that it captures or makes outside of it"
    )


def test_the_cuda_simulator_agrees():
    found = run_faults("cuda", NUMBA_ENABLE_CUDASIM="1")
    for name, at in (("reads", 0.2), ("writes", 0.5), ("swallowed_by_max", 0.2), ("overwritten", 0.5)):
        status, t = found[name].split()
        assert int(status) < 0 and abs(float(t) - at) < 1e-6, (name, found[name])
