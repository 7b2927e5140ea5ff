"""The long form of the fuzzer: random right-hand sides in processes of their own, so that a crash or a hang is a finding.

    python tests/fuzz.py [--cases 10000] [--seed 0] [--workers N] [--out findings.txt]

A case is one integration: a right-hand side, method, law, tolerance, start and span.  Exits 1 where anything was found.
"""

from __future__ import annotations

import argparse
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
FUNCTIONS = 10  # right-hand sides a process: kernels take memory that LLVM does not give back
METHODS, VARIANTS = 1, 40
TIMEOUT_S = 1800


def shard(seed: int) -> dict:
    """One process: what it ran and found."""
    command = [sys.executable, str(Path(__file__)), "--shard", str(seed)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return {"cases": 0, "findings": [f"shard {seed} hangs: no end within {TIMEOUT_S} s"]}
    if done.returncode != 0:
        return {"cases": 0, "findings": [f"shard {seed} ended with {done.returncode}: {done.stderr[-1500:]}"]}
    return json.loads(done.stdout.splitlines()[-1])


def run_shard(seed: int) -> None:
    """Inside a shard's process."""
    from fuzz_case import Report, check
    from grammar import case

    rng, total = random.Random(seed), Report()
    for _ in range(FUNCTIONS):
        total.add(check(case(rng), rng, METHODS, VARIANTS))
    print(json.dumps(vars(total)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=None, help="where findings are written")
    parser.add_argument("--shard", type=int, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.shard is not None:
        run_shard(options.shard)
        return 0
    if options.cases < 1 or options.workers < 1:
        parser.error("--cases and --workers must be at least 1")
    count = -(-options.cases // (FUNCTIONS * METHODS * VARIANTS))
    start, sums, findings = time.time(), dict.fromkeys(("cases", "compared", "failed", "unjudged"), 0), []
    worst = 0.0
    with ThreadPoolExecutor(options.workers) as pool:
        for k, found in enumerate(pool.map(shard, [options.seed * 100_003 + k for k in range(count)]), 1):
            for name in sums:
                sums[name] += found.get(name, 0)
            worst = max(worst, found.get("worst", 0.0))
            findings += found["findings"]
            print(f"{k}/{count} processes, {sums['cases']} cases, {len(findings)} findings, {time.time() - start:.0f} s", flush=True)
    print(
        f"{sums['cases']} cases: {sums['compared']} successes compared (the worst {worst:.3g} tolerances off), {sums['failed']} failed and "
        f"said so, {sums['unjudged']} without a reference; {len(findings)} findings"
    )
    text = "\n\n".join(findings)
    if options.out is not None:
        options.out.write_text(text)
    elif findings:
        print(text[:20_000])
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
