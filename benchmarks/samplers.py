"""Samplers of frozen generative models: error at a few evaluations, and what adaptive steps take.

    python benchmarks/samplers.py [--tasks digits checkerboard] [--process flow_matching] [--view PROCESS]
                                  [--seeds 0 1 2] [--models runs] [--noise 256] [--evaluations 6 8 10 16]
                                  [--rules-only] [--json] [--picture FOLDER]

The models are those of `python -m stepsmith.train.flows TASK --seed S`, one a seed, in MODELS/<task>-<process>-s<seed>;
the ones that are not there are trained first.  The error is that of the samples against the model's own fine solution
("tsit5" at 1e-5) from the same noise, in per cent of the fine solution's root mean square, on noise that nothing was
fitted to; mean over the seeds, with the least and the largest.  "heun" and "midpoint" take half as many steps as
evaluations.  The energy distance is that of 1024 samples to data unseen in training: of flows it is a guard, of
stochastic samplers, which have no fine solution from the same noise, the only measure.  --view samples the models in
the time and the state of another process.

--picture draws samplers_paths.png, samplers_grids.png and samplers_digits.png into a folder (`samplers_picture.py`).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import samplers_picture
import torch
from figures.save import parsed

import stepsmith as ss
from stepsmith.train import flows

EVALUATIONS = (6, 8, 10, 16)
METHODS = ("ddim", "heun", "midpoint", "ab2", "ab3", "ab4", "dpmpp_2m")
GRIDS = ("uniform", "cosine", "edm", "log_snr")
PAIRS = ("heun_euler", "bs32", "dopri5", "tsit5")
#: how pairs choose steps: of each sample's own; one for all; that, with a first step four times the automatic one
CLOCKS: dict[str, dict[str, Any]] = {
    "": {},
    ", one clock": {"per_sample": False},
    ", one clock, bold": {"per_sample": False, "first_step": "bold"},
}
TOLERANCES = (1.0, 0.1, 0.03, 0.01, 3e-3)
STOCHASTIC = ("ancestral", "euler_maruyama")
SAMPLES = 1024
MANY = (8, 16, 32, 64)
REVERSE = ("gotta_go_fast", "sra1")
LOOSE = (1.0, 0.3, 0.1)
TWICE = ("heun", "midpoint")


def models(folder: Path, task: str, process: str, seeds: list[int]) -> dict[int, ss.flows.Model]:
    """The trained model of every seed."""
    found = {}
    for seed in seeds:
        config = flows.FlowConfig(task, process, seed)
        place = folder / f"{config.name}-s{seed}"
        if not (place / "model.safetensors").exists():
            flows.train(config, place, resume=(place / "config.json").exists())
        found[seed] = flows.load(place)
    return found


def noise(n: int, size: int, seed: int) -> torch.Tensor:
    """Standard normal noise (n, size) float32 that no fit has seen."""
    return torch.randn(n, size, generator=torch.Generator().manual_seed(2**42 + seed))


def of_rules(
    model: ss.flows.Model, z: torch.Tensor, best: torch.Tensor, evaluations: list[int]
) -> dict[str, dict[int, float]]:
    """Errors of rules on grids, {"method grid": {evaluations: error}}."""
    rules: dict[str, dict[int, float]] = {}
    for method in METHODS:
        for grid in GRIDS:
            row = rules.setdefault(f"{method} {grid}", {})
            for n in evaluations:
                out = ss.flows.sample(model, z, method, n // 2 if method in TWICE else n, grid)
                row[n] = ss.flows.paired_error(out.y, best)
    return rules


def of_pairs(model: ss.flows.Model, z: torch.Tensor, best: torch.Tensor) -> dict[str, list[tuple[float, float]]]:
    """Evaluations and errors of pairs, {"method": [(nfe, error), ...]}."""
    pairs: dict[str, list[tuple[float, float]]] = {}
    for method in PAIRS:
        for name, more in CLOCKS.items():
            row_ = pairs.setdefault(f"{method}{name}", [])
            for tol in TOLERANCES:
                out = ss.flows.sample(model, z, method, rtol=tol, atol=tol, **more)
                row_.append((out.nfe, ss.flows.paired_error(out.y, best)))
    return pairs


def distances(model: ss.flows.Model, z: torch.Tensor, unseen: torch.Tensor) -> dict[str, float]:
    """Energy distances to unseen data, {"what": distance}."""
    data = unseen[: len(z)]
    found = {"fine solution": ss.flows.energy_distance(ss.flows.fine(model, z), data)}
    for method in ("ddim", "ab2", "dpmpp_2m"):
        found[f"{method} uniform, 8"] = ss.flows.energy_distance(ss.flows.sample(model, z, method, 8).y, data)
    for method in STOCHASTIC:
        for grid in ("uniform", "edm"):
            for n in MANY:
                out = ss.flows.sample(model, z, method, n, grid, seed=n)
                found[f"{method} {grid}, {n}"] = ss.flows.energy_distance(out.y, data)
    for method in REVERSE:
        for tol in LOOSE:
            out = ss.flows.sample(model, z, method, rtol=tol, atol=tol, seed=1)
            found[f"{method}, tolerance {tol:g}"] = ss.flows.energy_distance(out.y, data)
            found[f"evaluations of {method}, tolerance {tol:g}"] = out.nfe
    half = len(data) // 2
    found["unseen data, one half against the other"] = ss.flows.energy_distance(data[:half], data[half:])
    return found


def of_task(args: argparse.Namespace, task: str) -> dict[str, Any]:
    """All figures of a task, lists over the seeds."""
    rows: dict[str, Any] = {"rules": {}, "pairs": {}, "distances": {}}
    for seed, model in models(Path(args.models), task, args.process, args.seeds).items():
        print(f"{task}, seed {seed}", file=sys.stderr, flush=True)
        data = flows.data(task)
        model = model if args.view is None else model.as_process(ss.flows.from_dict({"name": args.view}))
        z = noise(args.noise, data.size, seed)
        many = noise(SAMPLES, data.size, 1000 + seed)
        best = ss.flows.fine(model, z)
        found: dict[str, Any] = {"rules": of_rules(model, z, best, args.evaluations)}
        if not args.rules_only:
            found |= {"pairs": of_pairs(model, z, best), "distances": distances(model, many, data.unseen)}
        for kind, named in found.items():
            for name, value in named.items():
                rows[kind].setdefault(name, []).append(value)
    return rows


def spread(values: list[float]) -> str:
    """Mean and, of several, the range."""
    digits = 2 if np.mean(values) < 1.0 else 1
    mean = f"{np.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def table(task: str, rows: dict[str, Any]) -> str:
    """The tables of a task in Markdown."""
    evaluations = list(next(iter(rows["rules"].values()))[0])
    lines = [f"### {task}", "", "| method, grid | " + " | ".join(str(n) for n in evaluations) + " |"]
    lines.append("|---|" + "---|" * len(evaluations))
    for name, seeds in rows["rules"].items():
        lines.append(f"| {name} | " + " | ".join(spread([s[n] for s in seeds]) for n in evaluations) + " |")
    if not rows["pairs"]:
        return "\n".join(lines)
    lines += ["", "| pair | " + " | ".join(f"{tol:g}" for tol in TOLERANCES) + " |", "|---|" + "---|" * len(TOLERANCES)]
    for name, seeds in rows["pairs"].items():
        mean = np.array(seeds).mean(0)  # (tolerances, 2)
        cells = [f"{nfe:.0f}: {error:.2g}" for nfe, error in mean]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *guard(rows["distances"])])


def guard(rows: dict[str, list[float]]) -> list[str]:
    """The table of energy distances, in thousandths."""
    lines = ["| samples | energy distance to unseen data, 1/1000 |", "|---|---|"]
    for name, values in rows.items():
        if name.startswith("evaluations of"):
            continue
        taken = rows.get(f"evaluations of {name}")
        shown = name if taken is None else f"{name}: {np.mean(taken):.0f} evaluations"
        low, mean, high = (1e3 * f(values) for f in (min, np.mean, max))
        lines.append(f"| {shown} | {mean:.1f} ({low:.1f} to {high:.1f}) |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=["digits", "checkerboard"], choices=list(flows.TASKS))
    parser.add_argument("--process", default="flow_matching", choices=list(ss.flows.PROCESSES))
    parser.add_argument("--view", choices=list(ss.flows.PROCESSES), help="process to sample in; default: the models'")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--models", default="runs", help="folder of the models")
    parser.add_argument("--evaluations", nargs="+", type=int, default=list(EVALUATIONS))
    parser.add_argument("--rules-only", action="store_true", help="leave out pairs and energy distances")
    parser.add_argument("--noise", type=int, default=256, help="samples")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--picture", help="folder for the pictures; nothing else is done then")
    args = parsed(parser)
    torch.set_num_threads(1)
    if args.picture:
        board, digits = (models(Path(args.models), t, args.process, args.seeds[:1]) for t in ("checkerboard", "digits"))
        first = args.seeds[0]
        for path in samplers_picture.draw(Path(args.picture), board[first], digits[first], noise):
            print(path)
        return
    found = {task: of_task(args, task) for task in args.tasks}
    if args.json:
        about = {"process": args.process, "view": args.view, "noise": args.noise, "seeds": args.seeds}
        print(json.dumps(about | {"tasks": found}, indent=1))
    else:
        print("\n\n".join(table(task, rows) for task, rows in found.items()))


if __name__ == "__main__":
    main()
