"""Training scripts written for torchdiffeq, with one changed import and nothing else.

    python benchmarks/changed_import.py [--scripts ode_demo,cnf] [--seeds 0,1,2] [--out FOLDER] [--iterations K]

The scripts in benchmarks/examples are torchdiffeq's six examples (the classifier twice, on scikit-learn's digits and on
MNIST-5k) and three of diffrax's as one writes them for torchdiffeq, made small; each says what it keeps and what it
reduces.  Each is run with `odeint`, `odeint_adjoint` and `odeint_event` out of torchdiffeq and out of
stepsmith.neural.torchdiffeq, at the script's own tolerances.

Every run is a process of its own, one after the other, on one thread; the two of a script and seed follow one another,
and which is first alternates, so that a drift of the machine cancels.  A run's JSON stays in the folder, and is not
made again while it is there; one with another number of iterations is refused.  The commits of all runs are printed
under the table.

The table has medians over the seeds of the evaluations of the field in the training loop (forward, backward, and solves
that the script makes in between); ratios of ours to torchdiffeq's, each the geometric mean over the seeds with the
least and the greatest, of evaluations, seconds and seconds of the CPU; and the mean quality of either.  Under it are
the geometric means over the scripts.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from figures.save import parsed
from foreign_training import ratio

FOLDER = Path(__file__).parent / "examples"
SCRIPTS = (
    "ode_demo", "latent_ode", "cnf", "odenet_digits", "odenet_mnist", "learn_physics", "bouncing_ball",
    "diffrax_neural_ode", "diffrax_cnf", "diffrax_cnf_grid", "diffrax_latent_ode",
)  # fmt: skip
THEIRS, OURS = "torchdiffeq", "stepsmith"
MEASURES = ("evaluations", "seconds", "cpu_seconds")
#: seconds after which a run is given up
LIMIT = 1800

Cell = tuple[str, str, int]


def cells(scripts: list[str], seeds: list[int]) -> Iterator[Cell]:
    """(script, library, seed) in the order in which they are run."""
    for i, seed in enumerate(seeds):
        for j, script in enumerate(scripts):
            for library in (THEIRS, OURS) if (i + j) % 2 == 0 else (OURS, THEIRS):
                yield script, library, seed


def run(cell: Cell, folder: Path, iterations: int | None) -> dict[str, Any]:
    """The result of a cell, out of its file or of a new process; SystemExit for a file of another run."""
    script, library, seed = cell
    file = folder / f"{script}-{library}-{seed}.json"
    if file.exists():
        result = json.loads(file.read_text())
        if iterations is not None and result.get("iterations", iterations) != iterations:
            raise SystemExit(f"{file} has {result['iterations']} iterations: give another --out or remove it")
        return result
    command = [sys.executable, str(FOLDER / f"{script}.py"), "--library", library, "--seed", str(seed)]
    command += [] if iterations is None else ["--iterations", str(iterations)]
    result = {"library": library, "seed": seed}
    try:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT)
        if done.returncode == 0:
            result = json.loads(done.stdout.splitlines()[-1])
        else:
            result["failed"] = done.stderr.strip()[-500:]
    except subprocess.TimeoutExpired:
        result["failed"] = f"it took more than {LIMIT} s"
    file.write_text(json.dumps(result, indent=1))
    return result


def row(script: str, pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> str:
    """A row of the table.  pairs: the results of torchdiffeq and of ours, one pair a seed."""
    lost = [result for pair in pairs for result in pair if "failed" in result]
    if lost:
        why = lost[0]["failed"].splitlines()[-1][:80]
        return f"| {script} | failed in {lost[0]['library']}: {why} |  |  |  |  |  |  |"
    of = {name: [[result[name] for result in side] for side in zip(*pairs, strict=True)] for name in MEASURES}
    counts = [f"{statistics.median(side):.0f}" for side in of["evaluations"]]
    ratios = [ratio(of[name][1], of[name][0]) for name in MEASURES]
    quality = [f"{statistics.fmean(result['quality'] for result in side):.4g}" for side in zip(*pairs, strict=True)]
    return f"| {script} | {' | '.join(counts + ratios + quality)} ({pairs[0][0]['quality_name']}) |"


def mean(name: str, found: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]]) -> str:
    """The geometric mean over scripts, each that over its seeds, of ours over torchdiffeq's."""
    each = [
        statistics.fmean(math.log(ours[name] / theirs[name]) for theirs, ours in pairs)
        for pairs in found.values()
        if not any("failed" in result for pair in pairs for result in pair)
    ]
    return f"{math.exp(statistics.fmean(each)):.3f}" if each else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scripts", default=",".join(SCRIPTS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--out", default="out/changed_import", help="folder of the runs' JSON")
    parser.add_argument("--iterations", type=int, help="of every script, in the place of its own number")
    args = parsed(parser)
    scripts, seeds = args.scripts.split(","), [int(seed) for seed in args.seeds.split(",")]
    if unknown := set(scripts) - set(SCRIPTS):
        parser.error(f"--scripts are of {', '.join(SCRIPTS)}; got {', '.join(sorted(unknown))}")
    folder = Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    results: dict[Cell, dict[str, Any]] = {}
    for cell in cells(scripts, seeds):
        results[cell] = result = run(cell, folder, args.iterations)
        told = result.get("failed") or f"{result['evaluations']} evaluations, {result['seconds']:.1f} s"
        print(" ".join(map(str, cell)) + f": {told}", file=sys.stderr, flush=True)
    found = {
        script: [(results[script, THEIRS, seed], results[script, OURS, seed]) for seed in seeds] for script in scripts
    }
    print("| script | evaluations, torchdiffeq | ours | evaluations | s | CPU | quality, torchdiffeq | ours |")
    print("|---|---|---|---|---|---|---|---|")
    for script in scripts:
        print(row(script, found[script]))
    means = " | ".join(mean(name, found) for name in MEASURES)
    print(f"| geometric mean |  |  | {means} |  |  |")
    commits = sorted({str(result.get("provenance", {}).get("commit")) for result in results.values()})
    print(f"\ncommits: {', '.join(commits)}")


if __name__ == "__main__":
    main()
