"""A controller in other people's solvers: evaluations and time at equal error, beside the solver's own default.

    python benchmarks/hosts.py [scipy torchdiffeq torchode diffrax] [--family species] [--n 16] [--batch] [--out FILE]

Every host solves the same instances of the family (test split) by its own Dormand-Prince pair, one after the other
(torchode: as one batch; torchdiffeq too with --batch, in which all instances take the same steps), at tolerances from
1e-1 to 1e-9. Contestants: the host's default, the published law that was cheapest on the tuner's validation instances,
the law tuned on the family, the package's universal_law, and the zoo's learned controller, where the host gives it what
it reads. What a person makes once (adapter, solver) is made outside the clock. Work at equal error, per instance, and
its interval over instances (and rounds of timing): docs/comparison.md; the error is the root mean square of the
difference from the reference. Ratios are to the host's default. Evaluations and attempts, of all instances together,
are those at the tolerance at which each contestant's error is nearest to the middle of the levels. The right-hand side
is written in the host's arrays (NumPy, torch, JAX).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from figures.save import parsed

import stepsmith as ss
from stepsmith.controllers.laws import registry, tuned
from stepsmith.train.evaluate.curves import error_levels
from stepsmith.train.evaluate.metric import work_ratio
from stepsmith.train.evaluate.runs import Runs
from stepsmith.train.evaluate.splits import draw
from stepsmith.train.run.provenance import provenance

TOLERANCES = 10.0 ** np.arange(-1.0, -9.25, -0.5)
ATOL = 0.1  # times rtol

#: one solve of some instances: (y at the end (k, n), evaluations, accepted, rejected; each (k,))
Answer = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
Field = Callable[[Any, Any, Any], Any]


def lorenz(lib: Any, y: Any, p: Any) -> Any:
    """The family's right-hand side in NumPy, torch or JAX, over the last axis."""
    a, b, c = y[..., 0], y[..., 1], y[..., 2]
    return lib.stack([p[..., 0] * (b - a), a * (p[..., 1] - c) - b, a * b - p[..., 2] * c], -1)


def kuramoto(lib: Any, y: Any, p: Any) -> Any:
    """The same of coupled oscillators."""
    c, s = lib.cos(y), lib.sin(y)
    k = p[..., :1]
    return p[..., 1:] + k * (s.mean(-1)[..., None] * c - c.mean(-1)[..., None] * s)


def species(lib: Any, y: Any, p: Any) -> Any:
    """The same of a community of species."""
    n = y.shape[-1]
    a = p[..., n:].reshape(*p.shape[:-1], n, n)
    return p[..., :n] * y * (1.0 - (a @ y[..., None])[..., 0])


FIELDS = {"kuramoto": kuramoto, "lorenz": lorenz, "species": species}


def once(make: Callable[..., Any]) -> Callable[..., Any]:
    """`make` with its answers kept, by the controller itself and the other arguments: what a person makes once."""
    kept: dict[Any, Any] = {}

    def made(controller: Any, *rest: Any) -> Any:
        key = (id(controller), *rest)
        if key not in kept:
            kept[key] = make(controller, *rest)
        return kept[key]

    return made


def scipy_host(batch: Any, forces: Field, together: bool) -> Callable[[Any, float, np.ndarray], Answer]:
    from scipy.integrate import RK45

    method_of = once(lambda controller: RK45 if controller is None else controller.for_scipy("RK45"))

    def solve(controller: Any, rtol: float, rows: np.ndarray) -> Answer:
        method = method_of(controller)
        found = []
        for i in rows:
            p = batch.p[i]
            span = batch.t0[i], batch.y0[i], batch.t1[i]
            solver = method(lambda t, y, p=p: forces(np, y, p), *span, rtol=rtol, atol=ATOL * rtol)
            steps = 0
            while solver.status == "running":
                solver.step()
                steps += 1
            rejected = (solver.nfev - 2) // 6 - steps
            found.append((solver.y, solver.nfev, steps, rejected))
        return gathered(found)

    return solve


def torchdiffeq_host(batch: Any, forces: Field, together: bool) -> Callable[[Any, float, np.ndarray], Answer]:
    import torch
    from torchdiffeq import odeint

    method_of = once(lambda controller: "dopri5" if controller is None else controller.for_torchdiffeq("dopri5"))

    def one(controller: Any, rtol: float, i: Any) -> tuple[np.ndarray, int, int, int]:
        """Row i, or all the rows i as one state, which take the same steps."""
        p, calls, steps = torch.from_numpy(batch.p[i]), [0], [0, 0]

        class Func(torch.nn.Module):
            def forward(self, t: Any, y: Any) -> Any:
                calls[0] += 1
                return forces(torch, y, p)

            def callback_accept_step(self, t0: Any, y0: Any, dt: Any) -> None:
                steps[0] += 1

            def callback_reject_step(self, t0: Any, y0: Any, dt: Any) -> None:
                steps[1] += 1

        first = i if np.ndim(i) == 0 else i[0]
        t = torch.tensor([batch.t0[first], batch.t1[first]], dtype=torch.float64)
        y = np.full(batch.y0[i].shape, np.inf)
        with torch.no_grad(), contextlib.suppress(AssertionError):  # torchdiffeq's word for a failed solve
            given = {"rtol": rtol, "atol": ATOL * rtol, "method": method_of(controller)}
            y = odeint(Func(), torch.from_numpy(batch.y0[i]), t, **given)[-1].numpy()
        return y, calls[0], steps[0], steps[1]

    def solve(controller: Any, rtol: float, rows: np.ndarray) -> Answer:
        if not together:
            return gathered([one(controller, rtol, i) for i in rows])
        if len({(batch.t0[i], batch.t1[i]) for i in rows}) > 1:
            raise ValueError("instances of several spans are no batch in torchdiffeq: leave --batch out")
        y, *counts = one(controller, rtol, rows)
        return y, *(np.full(len(rows), count) for count in counts)

    return solve


def torchode_host(batch: Any, forces: Field, together: bool) -> Callable[[Any, float, np.ndarray], Answer]:
    import torch
    import torchode

    @once
    def made(controller: Any, rtol: float, rows: tuple[int, ...]) -> Any:
        p = torch.from_numpy(batch.p[list(rows)])
        term = torchode.ODETerm(lambda t, y: forces(torch, y, p))
        step = torchode.Dopri5(term=term)
        if controller is None:
            return torchode.AutoDiffAdjoint(step, torchode.IntegralController(ATOL * rtol, rtol, term=term))
        return controller.for_torchode(ATOL * rtol, rtol, term=term).solver(step)

    def solve(controller: Any, rtol: float, rows: np.ndarray) -> Answer:
        solver = made(controller, rtol, tuple(int(i) for i in rows))
        span = [torch.from_numpy(np.asarray(x)[rows]) for x in (batch.t0, batch.t1)]
        with torch.no_grad():
            sol = solver.solve(torchode.InitialValueProblem(torch.from_numpy(batch.y0[rows]), *span))
        steps, accepted = sol.stats["n_steps"].numpy(), sol.stats["n_accepted"].numpy()
        return sol.ys[:, -1].numpy(), 6 * steps + 2, accepted, steps - accepted

    return solve


def diffrax_host(batch: Any, forces: Field, together: bool) -> Callable[[Any, float, np.ndarray], Answer]:
    import diffrax
    import equinox
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    term = diffrax.ODETerm(lambda t, y, p: forces(jnp, y, p))

    @equinox.filter_jit
    def one(controller: Any, t0: Any, t1: Any, y0: Any, p: Any) -> Any:
        given = term, diffrax.Dopri5(), t0, t1, None, y0, p
        sol = diffrax.diffeqsolve(*given, stepsize_controller=controller, max_steps=100_000, throw=False)
        return sol.ys[-1], sol.stats["num_accepted_steps"], sol.stats["num_rejected_steps"]

    @once
    def sizes_of(controller: Any, rtol: float) -> Any:
        scaled = {"rtol": rtol, "atol": ATOL * rtol}
        return diffrax.PIDController(**scaled) if controller is None else controller.for_diffrax(**scaled)

    def solve(controller: Any, rtol: float, rows: np.ndarray) -> Answer:
        sizes = sizes_of(controller, rtol)
        found = []
        for i in rows:
            y, accepted, rejected = jax.block_until_ready(one(sizes, batch.t0[i], batch.t1[i], batch.y0[i], batch.p[i]))
            accepted, rejected = int(accepted), int(rejected)
            # one before the first step, and with our controller two for Hairer's first size
            spent = 6 * (accepted + rejected) + (1 if controller is None else 3)
            found.append((np.asarray(y), spent, accepted, rejected))
        return gathered(found)

    return solve


HOSTS = {"scipy": scipy_host, "torchdiffeq": torchdiffeq_host, "torchode": torchode_host, "diffrax": diffrax_host}


def gathered(found: list) -> Answer:
    y, nfev, accepted, rejected = zip(*found, strict=True)
    return np.array(y), np.array(nfev), np.array(accepted), np.array(rejected)


def contestants(family: str, host: str, learned: list[str]) -> dict[str, Any]:
    """By the name of its row; None is the host's own rule."""
    path = tuned.SHIPPED / tuned.file_name(family, "dopri5")
    law, facts = tuned.read(path)
    ratios = {name: value for name, value in facts["validation"]["ratios"].items() if name in registry.names()}
    best = min(ratios, key=lambda name: ratios[name])
    rows: dict[str, Any] = {f"{host}'s default": None, f"{best} (best published law)": ss.controller(best)}
    rows["tuned"] = law
    rows["universal_law"] = ss.controller("universal_law")
    for name in learned:
        controller = ss.controller(name)
        try:
            getattr(controller, f"for_{host}")()
        except ValueError as why:
            print(f"{host}: {name} is left out: {why}", file=sys.stderr)
            continue
        rows[f"{Path(name).stem} (learned)"] = controller.unscaled()
    return rows


def measured(
    host: str, family: str, n: int, rounds: int, learned: list[str], together: bool
) -> tuple[dict[str, Runs], dict[str, np.ndarray]]:
    """Runs of all contestants in one host, and (3, T) evaluations, accepted and rejected attempts of all instances."""
    batch = draw(family, "dopri5", "test", n, 0).batch
    reference = ss.problems.family(family).reference(batch)
    keep = np.flatnonzero(reference.ok)
    solve, rows = HOSTS[host](batch, FIELDS[family], together), contestants(family, host, learned)
    for controller in rows.values():
        solve(controller, 1e-3, keep)  # compiles, loads
    err = {k: np.empty((len(keep), len(TOLERANCES))) for k in rows}
    nfev, totals = {k: np.empty_like(err[k]) for k in rows}, {k: np.empty((3, len(TOLERANCES))) for k in rows}
    seconds = {k: np.empty((rounds, len(TOLERANCES))) for k in rows}
    names = list(rows)
    for r in range(rounds):
        for j, rtol in enumerate(TOLERANCES):
            for k in names[r % len(names) :] + names[: r % len(names)]:
                least = np.inf
                for _ in range(2):  # a disturbance only adds
                    began = time.perf_counter()
                    y, evaluations, accepted, rejected = solve(rows[k], float(rtol), keep)
                    least = min(least, time.perf_counter() - began)
                seconds[k][r, j] = least
                err[k][:, j] = np.linalg.norm(y - reference.y[keep, -1], axis=1) / batch.n**0.5
                nfev[k][:, j] = evaluations
                totals[k][:, j] = evaluations.sum(), accepted.sum(), rejected.sum()
    runs = {}
    for k in rows:
        wall = np.median(seconds[k], axis=0)
        runs[k] = Runs(k, err[k], {"nfev": nfev[k], "wall": wall}, tol=TOLERANCES, rounds={"wall": seconds[k] / wall})
    return runs, totals


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("hosts", nargs="*", default=list(HOSTS))
    parser.add_argument("--family", default="species", choices=tuple(FIELDS))
    parser.add_argument("--learned", help="controllers, names or files; default: the zoo's of the family's name")
    parser.add_argument("--batch", action="store_true", help="torchdiffeq solves all instances as one state")
    parser.add_argument("--n", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out")
    args = parsed(parser)
    levels = error_levels(*ss.problems.family(args.family).levels[::-1])
    out: dict[str, Any] = {"provenance": provenance(), "arguments": vars(args), "hosts": {}}
    print("| host | controller | evaluations | accepted | rejected | evaluations, ratio | time, ratio |")
    print("|---|---|---|---|---|---|---|")
    for host in args.hosts:
        learned = (args.learned or args.family).split(",")
        runs, totals = measured(host, args.family, args.n, args.rounds, learned, args.batch)
        base = next(iter(runs.values()))
        out["hosts"][host] = {}
        for k, run in runs.items():
            # where its geometric-mean error is nearest to the middle of the levels
            at = int(np.argmin(np.abs(np.log(run.err).mean(axis=0) - np.log(levels).mean())))
            ratios = [work_ratio(run, base, levels, measure).figure for measure in ("nfev", "wall")]
            shown = " | ".join(f"{f.ratio:.3f} [{f.low:.3f}, {f.high:.3f}]" for f in ratios)
            print(f"| {host} | {k} | " + " | ".join(f"{v:.0f}" for v in totals[k][:, at]) + f" | {shown} |", flush=True)
            out["hosts"][host][k] = {
                "err": run.err.tolist(), "nfev": run.work["nfev"].tolist(), "wall": run.work["wall"].tolist(),
                "rounds": run.rounds["wall"].tolist(), "totals": totals[k].tolist(),
                "figures": {m: [f.ratio, f.low, f.high] for m, f in zip(("nfev", "wall"), ratios, strict=True)},
            }  # fmt: skip
    if args.out:
        Path(args.out).write_text(json.dumps(out))


if __name__ == "__main__":
    main()
