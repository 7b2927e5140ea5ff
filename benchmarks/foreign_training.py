"""Whole training runs of neural ODEs in other people's solvers: with the solver's own steps, and with one line added.

    python benchmarks/foreign_training.py [--tasks mnist,spirals,pbcseq] [--hosts torchdiffeq,torchode,diffrax]
        [--controllers default,universal_law@4,torchdiffeq,universal:alone] [--seeds 0,1,2] [--out FOLDER]
        [--rtol R --atol A] [--quick]

The scripts in benchmarks/foreign are training scripts as users of torchdiffeq, torchode and diffrax write them; each
says what its model is and what it counts.  Every run is a process of its own, one after the other, on one thread; the
controllers of one host, task and seed follow one another, and every seed begins with another of them, so that a drift
of the machine cancels.  A run's JSON stays in the folder, and is not made again while it is there; one that was made
with other tolerances is refused.  The commits of all runs are printed under the table.

Controllers get warm start and even steps with them (in diffrax the first size is handed on by the script); ":alone"
after a name leaves both out, in torchdiffeq, and "@4" gives a controller that tolerance scale.  "torchdiffeq" is the
host's own law through our adapter, so that the rows tell what the options bring and what the law.

The table has medians over seeds of the evaluations of the field and the seconds of the training loop (in diffrax
without compiling); ratios to the host's default, each the geometric mean over seeds with the least and the greatest, of
evaluations, seconds and seconds of the CPU; the same of the error of a solve on the trained field at the script's
tolerances in double precision, over that of the default on the same field (torchdiffeq); and the mean quality.  All
have the same tolerances, which is not the same error: read ratios beside the error and the quality.
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

SCRIPTS = Path(__file__).parent / "foreign"
TASKS, HOSTS = ("mnist", "spirals", "pbcseq"), ("torchdiffeq", "torchode", "diffrax")
#: seconds after which a run is given up
LIMIT = 1800

Cell = tuple[str, str, str, int]


def cells(tasks: list[str], hosts: list[str], controllers: list[str], seeds: list[int]) -> Iterator[Cell]:
    """(task, host, controller, seed) in the order in which they are run."""
    for i, seed in enumerate(seeds):
        for j, task in enumerate(tasks):
            at = (i + j) % len(controllers)
            for host in hosts:
                for controller in controllers[at:] + controllers[:at]:
                    yield task, host, controller, seed


def file_of(folder: Path, cell: Cell) -> Path:
    task, host, controller, seed = cell
    name, _, alone = controller.partition(":")
    return folder / f"{task}-{host}-{Path(name).stem}{'-alone' if alone else ''}-{seed}.json"


def run(cell: Cell, file: Path, options: list[str]) -> dict[str, Any]:
    """The result of a cell, out of its file or of a new process; SystemExit for a file of another run."""
    task, host, controller, seed = cell
    name, _, alone = controller.partition(":")
    if file.exists():
        result = json.loads(file.read_text())
        asked = {"controller": name, **{o[2:6]: float(o[7:]) for o in options if o[2:6] in ("rtol", "atol")}}
        if any(result.get(key, value) != value for key, value in asked.items()):
            raise SystemExit(f"{file} is of another run, not of {asked}: give another --out or remove it")
        return result
    script = SCRIPTS / f"{host}_{'mnist' if task == 'mnist' else 'latent'}.py"
    command = [
        sys.executable, str(script), "--task", task, "--controller", name, "--seed", str(seed), *options,
        *(["--alone"] if alone else []), "--out", str(file),
    ]  # fmt: skip
    why = f"it took more than {LIMIT} s"
    try:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT)
        if done.returncode == 0:
            return json.loads(file.read_text())
        why = done.stderr[-500:]
    except subprocess.TimeoutExpired:
        pass
    result = {"task": task, "host": host, "controller": name, "seed": seed, "failed": why}
    file.write_text(json.dumps(result, indent=1))
    return result


def ratio(new: list[float], old: list[float]) -> str:
    """Geometric mean of new over old, with the least and the greatest; lists of the same seeds."""
    each = [a / b for a, b in zip(new, old, strict=True)]
    return f"{math.exp(statistics.fmean(map(math.log, each))):.3f} ({min(each):.3f}..{max(each):.3f})"


def row(key: tuple[str, str, str], found: dict[tuple[str, str, str], dict[int, dict[str, Any]]]) -> str:
    """A row of the table.  found: results by (task, host, controller) and seed."""
    task, host, controller = key
    mine = {seed: result for seed, result in found[key].items() if "failed" not in result}
    failed = [result["failed"] for result in found[key].values() if "failed" in result]
    if not mine:
        what = failed[0].splitlines()[-1][:80]
        return f"| {task} | {host} | {controller} | failed: {what} |  |  |  |  |  |  |  |"
    theirs = {s: r for s, r in found.get((task, host, "default"), {}).items() if s in mine and "failed" not in r}

    def of(name: str, results: dict[int, dict[str, Any]]) -> list[float]:
        return [results[seed][name] for seed in sorted(results)]

    def over(name: str) -> str:
        new, old = {seed: mine[seed] for seed in theirs}, theirs
        if name == "error":  # both of one field
            new, old = ({s: {"error": r.get(n)} for s, r in mine.items()} for n in ("error", "error_default"))
        known = all(r.get(name) is not None for r in (*new.values(), *old.values()))
        return ratio(of(name, new), of(name, old)) if new and known else "-"

    ratios = [over(name) for name in ("evaluations", "seconds", "cpu_seconds", "error")]
    quality = [f"{statistics.fmean(of('quality', r)):.4g}" if r else "-" for r in (mine, theirs)]
    compiling = [r["seconds_compile"] for r in mine.values() if "seconds_compile" in r]
    seconds = f"{statistics.median(of('seconds', mine)):.1f}"
    if compiling:
        seconds += f" (and {statistics.median(compiling):.1f} to compile)"
    lost = f", {len(failed)} of {len(found[key])} failed" if failed else ""
    name = next(iter(mine.values()))["quality_name"]
    return (
        f"| {task} | {host} | {controller}{lost} | {statistics.median(of('evaluations', mine)):.0f} | {seconds} | "
        f"{' | '.join(ratios)} | {quality[0]} | {quality[1]} ({name}) |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--hosts", default=",".join(HOSTS))
    parser.add_argument("--controllers", default="default,universal_law@4")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--out", default="out/foreign_training", help="folder of the runs' JSON")
    parser.add_argument("--rtol", type=float, help="in the place of the scripts' own tolerances")
    parser.add_argument("--atol", type=float)
    parser.add_argument("--quick", action="store_true", help="three iterations each, in a folder of their own")
    args = parsed(parser)
    for name, known in (("tasks", TASKS), ("hosts", HOSTS)):
        unknown = set(getattr(args, name).split(",")) - set(known)
        if unknown:
            parser.error(f"--{name} are of {', '.join(known)}; got {', '.join(sorted(unknown))}")
    options = [f"--{name}={getattr(args, name)}" for name in ("rtol", "atol") if getattr(args, name) is not None]
    folder = Path(args.out)
    if args.quick:
        options, folder = [*options, "--quick"], folder / "quick"
    folder.mkdir(parents=True, exist_ok=True)
    lists = [getattr(args, name).split(",") for name in ("tasks", "hosts", "controllers")]
    found: dict[tuple[str, str, str], dict[int, dict[str, Any]]] = {}
    for cell in cells(*lists, [int(seed) for seed in args.seeds.split(",")]):
        result = run(cell, file_of(folder, cell), options)
        found.setdefault(cell[:3], {})[cell[3]] = result
        told = result.get("failed") or f"{result['evaluations']} evaluations, {result['seconds']:.1f} s"
        print(" ".join(map(str, cell)) + f": {told}", file=sys.stderr, flush=True)
    print("| task | host | controller | evaluations | s | evaluations | s | CPU | error | quality | default's |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for task in lists[0]:
        for host in lists[1]:
            for controller in lists[2]:
                print(row((task, host, controller), found))
    every = [result for results in found.values() for result in results.values()]
    commits = sorted({str(result.get("provenance", {}).get("commit")) for result in every})
    print(f"\ncommits: {', '.join(commits)}")


if __name__ == "__main__":
    main()
