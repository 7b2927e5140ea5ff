"""`fit` on ten families, four of them stiff, against the default solver and SciPy's at equal error: a table.

    python benchmarks/fit_families.py [--minutes 3] [--errors 1e-4,1e-8] [--families lorenz,rober] [--out FOLDER]

Every family is fitted at every error; SciPy integrates the same instances with the compiled right-hand side, by RK45,
its default, or by LSODA where the family is stiff, at the tolerance where it has the wanted error.  A fit whose folder
holds `fit.json` is not repeated, so that the script goes on where it was.  The table shows times, geometric means over
test instances, of the recommended solver, and ratios with 95 % intervals.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

from figures.save import parsed

import stepsmith as ss

FAMILIES = (
    "lotka_volterra", "brusselator", "henon_heiles", "double_pendulum", "kepler", "lorenz",
    "rober", "vdpol_stiff", "hires", "orego",
)  # fmt: skip


def fitted(family: str, error: float, minutes: float, folder: Path) -> dict:
    """The answer of a fit, as JSON."""
    out = folder / f"{family}-{error:.0e}"
    if not (out / "fit.json").is_file():
        base = "scipy:LSODA" if ss.problems.family(family).stiff else "scipy:RK45"
        ss.fit(family, error, minutes, baseline=base, out=out)
    return json.loads((out / "fit.json").read_text())


def shown(found: dict | None) -> str:
    """A ratio with its interval."""
    if found is None or not found["reached"]:
        return "does not reach it"
    wall = found["wall"]
    return f"{wall['ratio']:.3f} [{wall['low']:.3f}, {wall['high']:.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--errors", default="1e-4,1e-8")
    parser.add_argument("--families", default=",".join(FAMILIES))
    parser.add_argument("--out", type=Path, default=Path("fits/families"))
    args = parsed(parser)
    rows, ratios, hosts = [], [], []
    for error in map(float, args.errors.split(",")):
        for family in args.families.split(","):
            try:
                found = fitted(family, error, args.minutes, args.out)
            except ValueError as problem:
                rows.append(f"| {family} | {error:.0e} | {problem} | | | | |")
                continue
            best, default = found["rows"][0], found["against"]["default"]
            name, host = next((k, v) for k, v in found["against"].items() if k.startswith("scipy"))
            ratios += [default["wall"]["ratio"]] if default["reached"] else []
            hosts += [host["wall"]["ratio"]] if host["reached"] else []
            rows.append(
                f"| {family} | {error:.0e} | {best['method']} under {best['controller']}, rtol {best['rtol']:.1e} | "
                f"{best['error']:.1e} | {1e6 * best['seconds']:.4g} us | {shown(default)} | {name[6:]} {shown(host)} |"
            )
    print("| family | wanted error | recommended | error, 9 of 10 | a solve | over the default | over SciPy |")
    print("|---|---|---|---|---|---|---|")
    print("\n".join(rows))
    for label, found in (("the default", ratios), ("SciPy", hosts)):
        if found:
            mean = math.exp(sum(map(math.log, found)) / len(found))
            of = f"{len(found)} of {len(rows)} rows, largest {max(found):.2f}"
            print(f"geometric mean over {label}: {mean:.3f} ({of})")


if __name__ == "__main__":
    main()
