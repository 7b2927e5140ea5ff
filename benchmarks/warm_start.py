"""Seconds to the first solve of a new process, with a cold and with a warm kernel cache.

    python benchmarks/warm_start.py [--cache FOLDER]

Measured in processes of their own: `import stepsmith`; the first solve of a registered problem (Lotka-Volterra, Tsit5,
PI34), import included; the first solve of a right-hand side of one's own, in place and returned, under an explicit
method and under implicit ones.  The cold runs use an empty folder, the warm ones find it filled.  Exits non-zero if a
warm import takes 0.5 s or more, a warm first solve 2 s, a cold one of one's own 3 s under an explicit method or 6 s
under an implicit one (CPU seconds, import included).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile

from figures.save import parsed

IMPORT = "import stepsmith as ss\n"
REGISTERED = IMPORT + "sol = ss.solve(ss.problems.make('lotka_volterra', seed=0)); assert sol.success\n"
OWN = IMPORT + """
def rhs(t, y, p, dy):
    dy[0] = y[1]
    dy[1] = p[0]*(1.0 - y[0]*y[0])*y[1] - y[0]

sol = ss.solve(ss.Problem(rhs, [2.0, 0.0], (0.0, 5.0), [3.0])); assert sol.success
"""

RETURNED = OWN.replace("rhs(t, y, p, dy):", "rhs(t, y, p):").replace(
    "    dy[0] = y[1]\n    dy[1] = ", "    return y[1], "
)  # fmt: skip


def implicit(method: str) -> str:
    """The own problem under an implicit method."""
    return OWN.replace("[3.0]))", f"[3.0]), method={method!r})")


def seconds(program: str, cache: str, runs: int) -> tuple[float, float]:
    """(CPU, wall) seconds of the fastest of `runs` processes, the interpreter's own start left out."""
    best = (float("inf"), float("inf"))
    for _ in range(runs):
        code = "import time; _start = time.perf_counter(); _cpu = time.process_time()\n" + program
        code += "\nprint(time.process_time() - _cpu, time.perf_counter() - _start)\n"
        environment = {**os.environ, "STEPSMITH_CACHE_DIR": cache}
        out = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True)
        cpu, wall = map(float, out.stdout.split())
        best = min(best, (cpu, wall))
    return best


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", help="folder of the cache (default: a new one)")
    args = parsed(parser)
    cache = args.cache or tempfile.mkdtemp(prefix="stepsmith-bench-")
    plan = (
        ("import", IMPORT, 3, 0.5),
        ("first solve, registered problem, cold", REGISTERED, 1, float("inf")),
        ("first solve, registered problem, warm", REGISTERED, 3, 2.0),
        ("first solve, own right-hand side, cold", OWN, 1, 3.0),
        ("first solve, own right-hand side, warm", OWN, 3, 2.0),
        ("the same, returned as a tuple, cold", RETURNED, 1, 3.0),
        ("own right-hand side, rodas5p, cold", implicit("rodas5p"), 1, 6.0),
        ("own right-hand side, kvaerno5, cold", implicit("kvaerno5"), 1, 6.0),
        ("own right-hand side, radau5, cold", implicit("radau5"), 1, 6.0),
    )
    good = True
    print("| | CPU s | wall s | limit |\n|---|---|---|---|")
    for label, program, runs, limit in plan:
        cpu, wall = seconds(program, cache, runs)
        good &= cpu < limit
        print(f"| {label} | {cpu:.2f} | {wall:.2f} | {'' if limit == float('inf') else f'{limit:g}'} |", flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
