"""Fuzzed solves in torch that end at an event, against a reference whose sign is known along the span."""

from __future__ import annotations

import random
import warnings
from typing import Any

import numpy as np
import torch
import torchdiffeq

import stepsmith as ss
from fuzz_case import laws
from fuzz_ode import F64, Report, Smooth
from stepsmith.integrators.methods.tableaus import NAMES as PAIRS

POINTS = 401


def check_events(rng: random.Random) -> Report:
    """One case: a batch with steps per sample or one step for all, and an event where a component passes a level."""
    report = Report(cases=1)
    features, batch = rng.choice([1, 2]), rng.choice([1, 3])
    field = Smooth(rng, features)
    draws = torch.Generator().manual_seed(rng.randrange(2**31))
    y0 = torch.randn(batch, features, dtype=F64, generator=draws)
    begin, span = rng.choice([0.0, -2.0]), rng.choice([1.0, 3.0]) * rng.choice([1.0, -1.0])
    t = begin + span * torch.tensor([0.0, rng.uniform(0.2, 0.8), 1.0], dtype=F64)
    level, own = rng.uniform(-0.8, 0.8), rng.random() < 0.6
    rtol = 10.0 ** rng.uniform(-8.0, -4.0)
    given: dict[str, Any] = {"rtol": rtol, "atol": rtol, "per_sample": own, "method": rng.choice(PAIRS)}
    given["controller"] = rng.choice(["pi34", "torchdiffeq", rng.choice(laws())])
    given["adjoint"] = rng.choice(["discrete", "backsolve", "interpolating", "none"])
    if rng.random() < 0.3 and own:
        given["compact"] = True
    if rng.random() < 0.2 and given["adjoint"] == "discrete":
        given["checkpoint_every"] = 2
    many = rng.random() < 0.3

    def event(at: Any, y: Any) -> Any:
        value = y[..., 0] - level
        return torch.stack([value, 3.0 + 0.0 * value], -1) if many else value

    what = f"odeint batch={batch} features={features} t={t.tolist()} level={level} many={many} {given}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sol = ss.neural.odeint(field, y0, t, event_fn=event, **given)
    except (ValueError, TypeError) as error:
        report.refused[str(error)[:60]] += 1
        return report
    except Exception as error:
        report.findings.append(f"{type(error).__name__}: {str(error)[:400]}\n{what}")
        return report
    if not sol.success:
        report.failed += 1
        return report
    report.compared += 1
    with torch.no_grad():
        grid = begin + span * torch.linspace(0.0, 1.0, POINTS, dtype=F64)
        dense = torchdiffeq.odeint(field, y0, grid, method="dopri8", rtol=1e-10, atol=1e-11)
    values = (dense[..., 0] - level).numpy()
    values = values * np.sign(values[0])
    rough = 1e4 * rtol * (1.0 + np.abs(values).max())
    ends = np.asarray(sol.event_t.detach() if isinstance(sol.event_t, torch.Tensor) else sol.event_t, dtype=float)
    ends = np.broadcast_to(np.atleast_1d(ends), (batch,) if own else (1,))
    for i, end in enumerate(ends):
        path = values[:, i] if own else values.min(1)
        where = np.argmax(path < -rough) if (path < -rough).any() else None
        if not np.isfinite(end):
            if path[-1] < -rough:
                report.findings.append(f"sample {i}: no event, and {path[-1]:.3g} at the end\n{what}")
            continue
        place = (end - begin) / span
        if not 0.0 <= place <= 1.0 + 1e-12:
            report.findings.append(f"sample {i}: event at {end}\n{what}")
            continue
        near = float(np.interp(place, np.linspace(0.0, 1.0, POINTS), path))
        slack = rough + float(np.abs(np.diff(path)).max()) ** 2  # of the linear interpolation
        if abs(near) > slack:
            report.findings.append(f"sample {i}: {near:.3g} at the event, allowed {slack:.3g}\n{what}")
        if where is not None and place > where / (POINTS - 1) and path[where:][: max(1, POINTS // 10)].max() < -rough:
            report.findings.append(f"sample {i}: event at {place:.3g}, behind the first one\n{what}")
        row = sol.y[:, i] if own else sol.y
        behind = (t.numpy() - end) * np.sign(span) > 1e-9
        if bool(torch.isfinite(row[torch.from_numpy(behind)]).any()):
            report.findings.append(f"sample {i}: numbers behind the event\n{what}")
    return report
