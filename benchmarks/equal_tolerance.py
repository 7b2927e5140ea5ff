"""Work and error at equal tolerances, and work at equal error, on twenty fields of neural differential equations.

    python benchmarks/equal_tolerance.py --folder runs/twenty                      # torchdiffeq, dopri5, float64
    python benchmarks/equal_tolerance.py --folder runs/twenty --methods dopri5 tsit5 bosh3 dopri8 --laws torchdiffeq
    python benchmarks/equal_tolerance.py --folder runs/twenty --dtype float32 --floor
    python benchmarks/equal_tolerance.py --folder runs/twenty --host torchode --methods dopri5 tsit5

A host is another library, with one step size for the batch (torchdiffeq) or steps per sample (torchode), under its own
default law; it solves at rtol = atol = 1e-3 ... 1e-9 (float32: 1e-7; bosh3: 1e-6).  Here the same batch is solved at a
quarter of a decade each, under the law named, `plain` (a cautious first step, a last step that is cut) and `eased`
(first_step="bold", even_steps=True).  The error is the largest over the output times of the root mean square over the
batch, relative to that of a reference by SciPy's DOP853 at 1e-12 in float64; work is evaluations of the field.

For every law and way the *factor* is the largest number of tolerances asked for at which, on all but two of the fields,
the geometric mean over the tolerances of (error here / error there) is at most one, interpolated; where it is below one
the row is that of one.  Those of torchdiffeq are `stepsmith.neural.tolerance.SCALES`.  The next columns are work and
error here over there, at equal tolerances with the factor; the last is work at equal error, from envelopes of both
curves over the errors that both reach, with the worst field.  With --floor the field is solved at torchdiffeq's default
tolerances in float32 by the face `stepsmith.neural.torchdiffeq`, the floor of rtol being 0 to 8 ulp.  torchdiffeq 0.2.5
has no tsit5: that method is held against its dopri5.
"""

from __future__ import annotations

import argparse
import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import torchdiffeq
from figures.save import parsed
from scipy.integrate import solve_ivp
from twenty.fields import Case, cases, file_of, makers

import stepsmith as ss
from stepsmith.integrators.neural import resolution
from stepsmith.neural import torchdiffeq as face

Array = np.ndarray
#: (even_steps, first_step) of the two ways
WAYS = {"plain": (False, None), "eased": (True, "bold")}
LEAST = {"float64": 1e-9, "float32": 1e-7}
MOST_STEPS = 20_000
#: fields that may be less accurate
OUTLIERS = 2


class Counted:
    """The field, its calls counted."""

    def __init__(self, field: Callable[..., torch.Tensor]) -> None:
        self.field, self.calls = field, 0

    def __call__(self, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.field(t, y)


def reference(case: Case, folder: Path) -> Array:
    """The solution (T, B, D), kept in the folder."""
    path = file_of(folder, case.name).with_suffix(".npy")
    if path.exists():
        return np.load(path)
    field, shape = case.field.double(), tuple(case.y0.shape)

    def rhs(t: float, y: Array) -> Array:
        return field(torch.tensor(t, dtype=torch.float64), torch.from_numpy(y.reshape(shape))).numpy().ravel()

    span, times = (float(case.t[0]), float(case.t[-1])), case.t.double().numpy()
    with torch.no_grad():
        sol = solve_ivp(rhs, span, case.y0.double().numpy().ravel(), "DOP853", times, rtol=1e-12, atol=1e-13)
    if not sol.success:
        raise RuntimeError(f"no reference for {case.name}: {sol.message}")
    y = sol.y.T.reshape(len(times), *shape)
    np.save(path, y)
    return y


def error(y: torch.Tensor, truth: Array) -> float:
    off = y.detach().double().numpy() - truth
    found = float((np.sqrt((off**2).mean((1, 2))) / np.sqrt((truth**2).mean((1, 2)))).max())
    return found if np.isfinite(found) else float("inf")


def rows_field(field: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """The field with a time a sample, as torchode (B,) and this package (B, 1) hand them out."""
    return lambda t, y: field(t.reshape(-1, 1), y)


def host_solve(host: str, method: str, field: Counted, y0: torch.Tensor, t: torch.Tensor, tol: float) -> Any:
    if host == "torchdiffeq":
        name = "dopri5" if method == "tsit5" else method
        return torchdiffeq.odeint(field, y0, t, rtol=tol, atol=tol, method=name)
    import torchode

    term = torchode.ODETerm(rows_field(field))
    stepper = (torchode.Tsit5 if method == "tsit5" else torchode.Dopri5)(term=term)
    control = torchode.IntegralController(atol=tol, rtol=tol, term=term)
    problem = torchode.InitialValueProblem(y0, t[0].expand(len(y0)), t[-1].expand(len(y0)), t.expand(len(y0), -1))
    sol = torchode.AutoDiffAdjoint(stepper, control, max_steps=MOST_STEPS).solve(problem)
    if bool((sol.status != 0).any()):
        raise RuntimeError("torchode's status is not success")
    return sol.ys.transpose(0, 1)


def curves(args: argparse.Namespace, case: Case, truth: Array) -> dict[str, list[tuple[float, int, float]]]:
    """(tolerance, evaluations, error) of everything that is compared, by name."""
    dtype = getattr(torch, args.dtype)
    field, y0 = case.field.to(dtype), case.y0.to(dtype)
    t = case.t.to(torch.float64) if args.host == "torchdiffeq" else case.t.to(dtype)
    found: dict[str, list[tuple[float, int, float]]] = {}
    for method in args.methods:
        least = max(LEAST[args.dtype], 1e-6 if method == "bosh3" else 0.0) * 0.99
        half = [tol for tol in 10.0 ** -(3.0 + np.arange(13) / 2) if tol > least]
        quarter = [tol for tol in 10.0 ** -(0.75 + np.arange(34) / 4) if tol > least]
        rows = found[f"{method}|host"] = []
        for tol in half:
            counted = Counted(field)
            try:
                y = host_solve(args.host, method, counted, y0, t, tol)
                rows.append((tol, counted.calls, error(y, truth)))
            except (AssertionError, RuntimeError):
                rows.append((tol, counted.calls, float("inf")))
        for law in args.laws:
            for way, (even, first) in WAYS.items():
                rows = found[f"{method}|{law}|{way}"] = []
                for tol in quarter:
                    counted = Counted(field if args.host == "torchdiffeq" else rows_field(field))
                    sol = ss.neural.odeint(
                        counted, y0, t, method, law, tol, tol, "none", per_sample=args.host == "torchode",
                        heuristics=False, even_steps=even, first_step=first, max_steps=MOST_STEPS,
                    )  # fmt: skip
                    rows.append((tol, counted.calls, error(sol.y, truth) if sol.success else float("inf")))
    return found


def ratios(host: Array, ours: Array, quarters: int) -> tuple[Array, Array]:
    """log error and log work here over there at 10^(quarters / 4) times the host's tolerances."""
    err, work = [], []
    for tol, calls, off in host:
        near = np.abs(np.log10(ours[:, 0] / tol) - quarters / 4)
        k = int(near.argmin())
        if near[k] < 1e-3 and np.isfinite(off):
            err.append(np.log(ours[k, 2] / off))
            work.append(np.log(ours[k, 1] / calls))
    return np.array(err), np.array(work)


def means(host: Array, ours: Array) -> tuple[Array, Array, Array]:
    """Quarters of a decade, and at each the means of `ratios`."""
    found = [(q, *(part.mean() for part in ratios(host, ours, q))) for q in range(-1, 13)]
    q, err, work = np.array(found).T
    return q, err, work


def crossing(q: Array, err: Array) -> float:
    """Quarters at which the mean log error becomes positive, interpolated; the largest tried where it does not."""
    above = np.flatnonzero(~(err <= 0.0))
    if not above.size:
        return float(q[-1])
    k = int(above[0])
    return float(q[0]) if k == 0 else float(q[k - 1] + (q[k] - q[k - 1]) * -err[k - 1] / (err[k] - err[k - 1]))


def equal_error(host: Array, ours: Array) -> float:
    """Mean log work here over there at equal error, from the lower-left envelopes of both."""

    def envelope(rows: Array) -> tuple[Array, Array]:
        rows = rows[np.isfinite(rows[:, 2])]
        order = np.argsort(rows[:, 2])
        err, work = np.log(rows[order, 2]), np.log(rows[order, 1])
        return err, np.minimum.accumulate(work)

    (e1, w1), (e2, w2) = envelope(host), envelope(ours)
    low, high = max(e1[0], e2[0]), min(e1[-1], e2[-1])
    if high <= low:
        return float("nan")
    at = np.linspace(low, high, 40)
    return float(np.mean(np.interp(at, e2, w2) - np.interp(at, e1, w1)))


def report(data: dict[str, Any], methods: list[str], laws: list[str]) -> None:
    head = ("method", "law", "way", "factor", "at the factor: work", "worst", "error", "worst", "equal error: work")
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for method in methods:
        for law in laws:
            for way in WAYS:
                cross, even, per = [], [], []
                for found in data.values():
                    host, ours = np.array(found[f"{method}|host"]), np.array(found[f"{method}|{law}|{way}"])
                    q, err, work = means(host, ours)
                    cross.append(crossing(q, err))
                    per.append((q, err, work))
                    even.append(equal_error(host, ours))
                at = max(0.0, sorted(cross)[min(OUTLIERS, len(cross) - 1)])
                work = [np.interp(at, q, w) for q, _, w in per]
                err = [np.interp(at, q, e) for q, e, _ in per]
                print(
                    f"| {method} | {law} | {way} | {10 ** (at / 4):.2f} | {np.exp(np.mean(work)):.3f} "
                    f"| {np.exp(max(work)):.3f} | {np.exp(np.mean(err)):.2f} | {np.exp(max(err)):.2f} "
                    f"| {np.exp(np.nanmean(even)):.3f} ({np.exp(np.nanmax(even)):.3f}) |"
                )


def floors(args: argparse.Namespace) -> None:
    """Work and error of the face over torchdiffeq's, at its default tolerances in float32, by the floor in ulp."""
    tried, sums = (0.0, 2.0, 3.0, 4.0, 6.0, 8.0), []
    print("| field | torchdiffeq | " + " | ".join(f"{f:g} ulp: work, error" for f in tried) + " |")
    print("|" + "---|" * (len(tried) + 2))
    for case in cases(args.folder, args.fields):
        truth, y0, t = reference(case, args.folder), case.y0.float(), case.t.float()
        field, row = case.field.float(), []

        def one(library: Any, field: Any = field, y0: Any = y0, t: Any = t, truth: Any = truth) -> tuple[int, float]:
            counted = Counted(field)
            return (counted, library.odeint(counted, y0, t))[0].calls, error(library.odeint(field, y0, t), truth)

        theirs = one(torchdiffeq)
        for resolution.FLOOR in tried:
            ours = one(face)
            row.append((ours[0] / theirs[0], ours[1] / theirs[1]))
        sums.append(np.log(row))
        cells = " | ".join(f"{w:.2f}, {e:.2f}" for w, e in row)
        print(f"| {case.name} | {theirs[0]}, {theirs[1]:.1e} | {cells} |", flush=True)
    cells = " | ".join(f"{w:.2f}, {e:.2f}" for w, e in np.exp(np.mean(sums, 0)))
    print(f"| geometric mean | | {cells} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where fields, references and curves are kept")
    parser.add_argument("--host", choices=("torchdiffeq", "torchode"), default="torchdiffeq")
    parser.add_argument("--methods", nargs="+", default=["dopri5"], choices=("dopri5", "tsit5", "bosh3", "dopri8"))
    parser.add_argument("--laws", nargs="+", default=["torchdiffeq"])
    parser.add_argument("--dtype", choices=tuple(LEAST), default="float64")
    parser.add_argument("--fields", nargs="+", choices=tuple(makers()))
    parser.add_argument("--floor", action="store_true", help="the floor of rtol in float32 instead")
    args = parsed(parser)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with torch.no_grad():
        if args.floor:
            return floors(args)
        resolution.FLOOR = 0.0
        stem = "-".join([args.host, args.dtype, *args.methods, *args.laws])
        path = args.folder / f"{stem}.json"
        data = json.loads(path.read_text()) if path.exists() else {}
        for case in cases(args.folder, args.fields):
            if case.name not in data:
                data[case.name] = curves(args, case, reference(case, args.folder))
                path.write_text(json.dumps(data))
            print(f"{case.name}: done", flush=True)
        report(data, args.methods, args.laws)


if __name__ == "__main__":
    main()
