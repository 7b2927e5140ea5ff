"""Single solves at equal global error: Stepsmith beside heyoka, numbalsoda, CyRK and diffrax, on one thread.

    python benchmarks/peers_single.py [--problems lorenz ...] [--libraries heyoka ...] [--repeats 5] [--quick]

Lorenz, Kepler's orbit, the Pleiades, Arenstorf's orbit, van der Pol's oscillator and, stiff, HIRES.  What is timed is
one call from Python as a user repeats it, everything that the call does in Python included (CPU time, compiled before,
best of the repeats, the libraries taking turns): `ss.solve` of a `Problem` that is there already and keeps every
accepted step, heyoka's integrator set back to its start, numbalsoda's and CyRK's entries for Numba, diffrax under jit.

The first table of a problem holds what every library reaches at rtol = atol = 1e-6, 1e-9 and 1e-12, and Stepsmith's
time at that same error: that of its fastest method, interpolated between tolerances in logarithms.  The second holds
all libraries at given errors.  A ratio is Stepsmith's time over the peer's: below 1 Stepsmith is faster.  The error is
|y - y_ref| / |y_ref| at the end, y_ref by heyoka in 80 bits.  Nobody is given a Jacobian but Stepsmith on HIRES, whose
problem has one.  Libraries that are not installed are left out.
"""

from __future__ import annotations

from figures.save import parsed

from peers import one_thread  # isort: skip  (before NumPy and JAX)

import argparse
import sys
import warnings

import numpy as np
from peers import calls, clock, references, singles, tables
from single_solve import timed

import stepsmith as ss
from stepsmith.integrators import methods

STATED = (1e-6, 1e-9, 1e-12)
LEVELS = (1e-4, 1e-6, 1e-8, 1e-10)
TOLERANCES = np.array([float(f"1e-{k // 2}") * (1.0 if k % 2 == 0 else 10.0**-0.5) for k in range(4, 30)])


def scanned(case: singles.Single, library: str, method: str, call: calls.Call, tolerances) -> list[clock.Trial]:
    """One trial a tolerance, from loose to tight; a call that takes longer than two seconds ends them."""
    found = []
    for tol in tolerances:
        run = call(case, float(tol))
        error = case.error(run())
        found.append(clock.Trial(library, method, float(tol), max(error, 2.0**-53), run))
        if clock.once(run) > 2.0:
            break
    return [trial for trial in found if np.isfinite(trial.error)]


def trials_of(case: singles.Single, libraries: list[str], tolerances) -> list[clock.Trial]:
    """All trials of a problem; what a library or a method refuses is said on standard error."""
    found = []
    for library in libraries:
        for method, call in calls.LIBRARIES[library][case.stiff].items():
            if library == "Stepsmith" and method not in methods.names():
                print(f"this version has no {method}", file=sys.stderr)
                continue
            print(f"  {library} {method}", file=sys.stderr, flush=True)
            try:
                found += scanned(case, library, method, call, tolerances)
            except ImportError:
                print(f"{library}: not installed", file=sys.stderr)
                break
            except ValueError as refused:
                print(f"{library} {method}: {refused}", file=sys.stderr)
    return found


def at_their_errors(trials: list[clock.Trial]) -> None:
    """Print what every peer reaches at the stated tolerances, and Stepsmith's time at that error."""
    ours = [trial for trial in trials if trial.library == "Stepsmith"]
    tables.head(["rtol = atol", "library", "error", "microseconds", "Stepsmith at that error", "Stepsmith / library"])
    for tol in STATED:
        for trial in trials:
            if not np.isclose(trial.tol, tol, rtol=1e-6, atol=0.0):
                continue
            cells = [f"{tol:.0e}", f"{trial.library} {trial.method}", f"{trial.error:.1e}", tables.micro(trial.seconds)]
            if trial.library == "Stepsmith":
                cells += ["", ""]
            else:
                seconds, names = clock.best(clock.at_levels(ours, [trial.error]), "Stepsmith", 1)
                cells += [
                    tables.micro(seconds[0], names[0]),
                    tables.ratio(tables.ratios(seconds, np.array([trial.seconds]))[0]),
                ]
            tables.line(cells)


def new_problem(case: singles.Single) -> float:
    """CPU seconds to make the Problem anew, as somebody does whose start changes from call to call."""
    old = case.problem
    return timed(
        lambda: (
            ss.Problem(
                old.rhs, old.y0, old.t_span, old.p, jac=old.jac, name=old.name, nbody=old.nbody, accel=old.accel
            ).y0
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", nargs="+", default=list(singles.CASES), choices=list(singles.CASES))
    parser.add_argument("--libraries", nargs="+", default=list(calls.LIBRARIES)[1:], choices=list(calls.LIBRARIES)[1:])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="whole decades, one repeat")
    args = parsed(parser)
    warnings.simplefilter("ignore")  # tolerances near the precision of float64 are asked for on purpose
    print(f"Stepsmith {ss.__version__}, {one_thread.bind()}; microseconds of CPU time.")
    ratios: dict[str, dict[str, np.ndarray]] = {}
    for name in args.problems:
        case = singles.make(name)
        print(f"\n### {case.title}\n", flush=True)
        print(references.check(case.system(), case.problem.rhs, case.y0[None], case.p[None], case.span[1],
                               case.end[None], stiff=case.stiff))  # fmt: skip
        print(f"To make the Problem anew takes {new_problem(case) * 1e6:.0f} microseconds more.\n", flush=True)
        trials = trials_of(case, ["Stepsmith", *args.libraries], TOLERANCES[::2] if args.quick else TOLERANCES)
        for turn in range(1 if args.quick else args.repeats):
            clock.time_in_turn(trials, turn, timed)
        at_their_errors(trials)
        print()
        ratios[case.title] = tables.beside(clock.at_levels(trials, LEVELS), LEVELS, args.libraries)
    for library in args.libraries:
        tables.summary(library, {title: row[library] for title, row in ratios.items()}, LEVELS)


if __name__ == "__main__":
    main()
