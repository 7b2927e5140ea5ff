"""The long form of the fuzzer of what solves in torch, of stochastic equations and samplers, and of bad input.

    python tests/fuzz_torch.py [--minutes 20] [--seed 0] [--kinds ode sde ...] [--workers N] [--case SEED]

Cases run in processes of their own, so that a crash or a hang is a finding.  A finding names its kind and the seed of
its case, which `--kinds KIND --case SEED` runs alone.  Exits 1 where anything was found.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "helpers"))
#: kind -> module and function of a case, and how many of them a process makes
KINDS = {
    "ode": ("fuzz_ode", "check_ode", 40),
    "sde": ("fuzz_sde", "check_sdeint", 12),
    "paths": ("fuzz_sde", "check_paths", 10),
    "sample": ("fuzz_flows", "check_sample", 80),
    "density": ("fuzz_flows", "check_density", 40),
    "learned": ("fuzz_flows", "check_learned", 30),
    "bad": ("fuzz_bad", "check_bad", 400),
    "events": ("fuzz_events", "check_events", 40),
}
CASE_S, PROCESS_S = 300, 1800


def run_shard(kind: str, seeds: list[int]) -> None:
    """Inside a process: the cases of these seeds; counts, refusals and findings as a line of JSON."""
    import importlib

    import torch

    torch.set_num_threads(1)
    module, name, _ = KINDS[kind]
    check = getattr(importlib.import_module(module), name)
    total: dict = {"cases": 0, "compared": 0, "failed": 0, "refused": {}, "findings": []}
    for seed in seeds:
        faulthandler.dump_traceback_later(CASE_S, exit=True)  # where a case hangs
        print(f"case {seed}", file=sys.stderr, flush=True)
        report = check(random.Random(seed))
        for count in ("cases", "compared", "failed"):
            total[count] += getattr(report, count)
        for why, times in report.refused.items():
            total["refused"][why] = total["refused"].get(why, 0) + times
        total["findings"] += [f"{kind} --case {seed}: {finding}" for finding in report.findings]
    faulthandler.cancel_dump_traceback_later()
    print(json.dumps(total))


def shard(kind: str, seeds: list[int]) -> dict:
    """One process: what it ran and found."""
    command = [sys.executable, str(Path(__file__)), "--shard", kind, *map(str, seeds)]
    none = {"cases": 0, "compared": 0, "failed": 0, "refused": {}}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PROCESS_S)
    except subprocess.TimeoutExpired:
        return {**none, "findings": [f"{kind} {seeds}: no end within {PROCESS_S} s"]}
    if done.returncode != 0:
        return {**none, "findings": [f"{kind} {seeds} ended with {done.returncode}: {done.stderr[-2500:]}"]}
    return json.loads(done.stdout.splitlines()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20.0, help="no new process is begun after them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--case", type=int, default=None, help="the seed of one case, of each of the kinds")
    parser.add_argument("--refusals", action="store_true", help="tell the errors by which cases were refused")
    parser.add_argument("--shard", nargs="+", default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.shard is not None:
        run_shard(options.shard[0], [int(seed) for seed in options.shard[1:]])
        return 0
    if options.workers < 1 or not options.minutes > 0.0:
        parser.error("--workers must be at least 1, and --minutes above 0")
    rng, begun = random.Random(options.seed), time.time()
    sums: dict[str, dict] = {kind: {"cases": 0, "compared": 0, "failed": 0, "refused": {}} for kind in options.kinds}
    findings: list[str] = []

    def take(kind: str, seeds: list[int]) -> None:
        if time.time() - begun >= 60.0 * options.minutes:
            return
        found, own = shard(kind, seeds), sums[kind]
        for name in ("cases", "compared", "failed"):
            own[name] += found[name]
        for why, times in found["refused"].items():
            own["refused"][why] = own["refused"].get(why, 0) + times
        findings.extend(found["findings"])
        for finding in found["findings"]:
            print(f"FINDING {finding}\n", flush=True)
        took = time.time() - begun
        print(f"{kind}: {own['cases']} cases, {len(findings)} findings in all, {took:.0f} s", flush=True)

    with ThreadPoolExecutor(options.workers) as pool:
        if options.case is not None:
            list(pool.map(lambda kind: take(kind, [options.case]), options.kinds))
        while options.case is None and time.time() - begun < 60.0 * options.minutes:
            tasks = [(kind, [rng.randrange(2**31) for _ in range(KINDS[kind][2])]) for kind in options.kinds]
            list(pool.map(lambda task: take(*task), tasks))
    for kind, own in sums.items():
        refused = sum(own["refused"].values())
        print(f"{kind}: {own['cases']} cases, {own['compared']} compared, {own['failed']} failed, {refused} refused")
        if options.refusals:
            for why, times in sorted(own["refused"].items(), key=lambda item: -item[1]):
                print(f"    {times} {why}")
    print(f"findings {len(findings)}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
