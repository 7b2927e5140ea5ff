"""Ensembles at equal global error: Stepsmith beside heyoka, diffrax and CyRK, on one thread.

    python benchmarks/peers_ensemble.py [--problems lorenz ...] [--libraries heyoka ...] [--methods vern9 ...]
      [--repeats 3] [--quick]

Lorenz, Henon-Heiles, Kepler's orbit, the Pleiades, and the sun with eight planets.  Every library runs each of its
methods at rtol = atol = 1e-2 ... 1e-16 (half decades; heyoka has one tolerance).  The error is the median over the
sample of |y - y_ref| / |y_ref| at the end, y_ref by heyoka in 80 bits, which is checked against a looser tolerance and
against SciPy.  A method's time at an error is interpolated between tolerances, both in logarithms, and a library's is
that of its fastest method there.

CPU time a trajectory of one call from Python, on one thread and one core, compiled before; best of the repeats, in
which trials of like error follow each other and the libraries' order turns.  Stepsmith and heyoka integrate all
trajectories, in lanes; diffrax (vmap of the sample) and CyRK (a compiled loop) integrate the sample.  A ratio is
Stepsmith's time over the peer's: below 1 Stepsmith is faster.  Libraries that are not installed are left out.
"""

from __future__ import annotations

from figures.save import parsed

from peers import one_thread  # isort: skip  (before NumPy and JAX)

import argparse
import sys
import time
import warnings

import numpy as np
from peers import clock, ensembles, lanes, references, tables

import stepsmith as ss
from stepsmith.integrators import methods

LEVELS = (1e-4, 1e-6, 1e-8, 1e-10, 1e-12)
TOLERANCES = 10.0 ** -np.arange(2.0, 16.1, 0.5)
#: CPU seconds of one call on the sample after which a method's tolerances end
PATIENCE = 10.0


def scanned(case: ensembles.Ensemble, library: str, method: str, exact: np.ndarray, tolerances) -> list[clock.Trial]:
    """One trial a tolerance, from loose to tight, until the tightest level is reached, errors no longer fall, or the
    sample takes longer than `PATIENCE`.
    """
    make, _, everything = lanes.LIBRARIES[library]
    sample, found, worse = case.first(len(exact)), [], 0
    batch = case.batch if everything else sample
    for tol in tolerances:
        call, before = make(case, method, float(tol), sample), time.process_time()
        y = call()
        late = bool(found) and time.process_time() - before > PATIENCE  # the first call may have compiled
        error = float(np.median(references.relative(y, exact)))
        run = make(case, method, float(tol), batch)
        worse = 0 if not found or error < min(trial.error for trial in found) else worse + 1
        found.append(clock.Trial(library, method, float(tol), max(error, 2.0**-53), run, len(batch.y0)))
        if error < 0.5 * min(LEVELS) or (worse == 3 and np.isfinite(error)) or late:
            break
    return found


def trials_of(case: ensembles.Ensemble, wanted: dict[str, list[str]], exact, tolerances) -> list[clock.Trial]:
    """All trials of a problem by library and method; what one refuses is said on standard error."""
    found = []
    for library, own in wanted.items():
        for method in own:
            print(f"  {library} {method}", file=sys.stderr, flush=True)
            try:
                found += scanned(case, library, method, exact, tolerances)
            except ImportError:
                print(f"{library}: not installed", file=sys.stderr)
                break
            except ValueError as refused:
                print(f"{library} {method}: {refused}", file=sys.stderr)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", nargs="+", default=list(ensembles.CASES), choices=list(ensembles.CASES))
    parser.add_argument("--libraries", nargs="+", default=list(lanes.LIBRARIES)[1:], choices=list(lanes.LIBRARIES)[1:])
    parser.add_argument("--methods", nargs="+", default=list(lanes.STEPSMITH), help="of Stepsmith")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="few trajectories, whole decades, one repeat")
    args = parsed(parser)
    warnings.simplefilter("ignore")  # tolerances near the precision of float64 are asked for on purpose
    print(f"Stepsmith {ss.__version__}, {one_thread.bind()}; microseconds of CPU time.")
    if absent := [name for name in args.methods if name not in methods.names()]:
        print(f"Left out, for this version does not have them: {', '.join(absent)}.")
    wanted = {"Stepsmith": [name for name in args.methods if name in methods.names()]}
    wanted |= {name: list(lanes.LIBRARIES[name][1]) for name in args.libraries}
    tolerances = TOLERANCES[::2] if args.quick else TOLERANCES
    ratios: dict[str, dict[str, np.ndarray]] = {}
    for name in args.problems:
        case = ensembles.make(name, args.quick)
        y0 = case.batch.y0[: case.sample]
        exact = references.ends(case.system(), y0, case.t1)
        print(f"\n### {case.title}: {len(case.batch.y0)} trajectories\n", flush=True)
        print(references.check(case.system(), case.batch.rhs, y0, case.batch.p, case.t1, exact) + "\n", flush=True)
        trials = trials_of(case, wanted, exact, tolerances)
        kept = clock.measured(trials, LEVELS, 1 if args.quick else args.repeats)
        times = clock.at_levels(kept, LEVELS)
        ratios[case.title] = tables.beside(times, LEVELS, args.libraries)
        tables.own_methods(times, LEVELS)
    for library in args.libraries:
        tables.summary(library, {title: row[library] for title, row in ratios.items()}, LEVELS)


if __name__ == "__main__":
    main()
