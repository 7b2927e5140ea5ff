"""A fixed number of cases of `tests/fuzz_torch.py`, the long form, and a check of the check."""

from __future__ import annotations

import random

import pytest
import torch

import fuzz_bad
import fuzz_events
import fuzz_flows
import fuzz_ode
import fuzz_sde
import stepsmith as ss

CASES = [
    (fuzz_ode.check_ode, 12), (fuzz_events.check_events, 4), (fuzz_sde.check_sdeint, 2),
    (fuzz_flows.check_sample, 20), (fuzz_flows.check_density, 4), (fuzz_flows.check_learned, 4),
    (fuzz_bad.check_bad, 60),
]  # fmt: skip


@pytest.mark.parametrize("check, count", CASES, ids=lambda x: getattr(x, "__name__", x))
def test_random_cases(check, count, monkeypatch):
    torch.set_num_threads(1)
    # its good call compiles a kernel; the long form has it
    monkeypatch.setattr(fuzz_bad, "FACES", {k: v for k, v in fuzz_bad.FACES.items() if k != "solve_sde"})
    total = fuzz_ode.Report()
    for seed in range(count):
        total.add(check(random.Random(seed)))
    assert total.cases == count and not total.findings, total.findings[0]
    assert total.compared > 0


def test_a_wrong_answer_is_found(monkeypatch):
    honest = ss.neural.odeint

    def lying(*args, **options):
        sol = honest(*args, **options)
        sol.y.data[-1] += 0.1
        return sol

    monkeypatch.setattr(ss.neural, "odeint", lying)
    reports = [fuzz_ode.check_ode(random.Random(seed)) for seed in range(8)]
    assert any("off, allowed" in finding for report in reports for finding in report.findings)


def test_an_error_that_names_nothing_is_found():
    face = fuzz_bad.Face(lambda rtol, y: (True, torch.zeros(2) + bool(torch.as_tensor(y) > rtol)), dict)
    fuzz_bad._BASE["own"] = torch.zeros(2)
    came, found = fuzz_bad.judge("own", face, {"rtol": 1.0, "y": 0.0}, "rtol", torch.zeros(3))
    assert came == "refused" and "does not name it" in found[0]
    assert fuzz_bad.judge("own", face, {"rtol": 1.0, "y": 0.0}, "rtol", -1.0)[1] == ["another answer\n  own(rtol=-1.0)"]
