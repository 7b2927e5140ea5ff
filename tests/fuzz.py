"""The long form of the fuzzer: random right-hand sides in processes of their own, so that a crash or a hang is a
finding.

    python tests/fuzz.py [--cases 10000] [--minutes M] [--seed 0] [--workers N] [--out findings.txt]

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
from concurrent.futures import ThreadPoolExecutor, as_completed
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
    parser.add_argument("--minutes", type=float, default=None, help="no process is begun after them; None: all cases")
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
    start, findings = time.time(), []

    def timely(seed: int) -> dict:
        late = options.minutes is not None and time.time() - start > 60.0 * options.minutes
        return {"cases": 0, "findings": []} if late else shard(seed)

    sums: dict[str, float] = {}
    with ThreadPoolExecutor(options.workers) as pool:
        running = [pool.submit(timely, options.seed * 100_003 + k) for k in range(count)]
        for k, done in enumerate(as_completed(running), 1):
            found = done.result()
            for name, value in found.items():
                if name != "findings":
                    sums[name] = (
                        max(sums.get(name, 0), value) if name.startswith("worst") else sums.get(name, 0) + value
                    )
            for finding in found["findings"]:  # at once: nothing is lost where the run is cut short
                print(f"FINDING {finding}\n", flush=True)
            findings += found["findings"]
            took = time.time() - start
            print(f"{k}/{count} processes, {sums['cases']} cases, {len(findings)} findings, {took:.0f} s", flush=True)
    print(", ".join(f"{name} {value:.4g}" for name, value in sums.items()) + f", findings {len(findings)}")
    text = "\n\n".join(findings)
    if options.out is not None:
        options.out.write_text(text)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
