"""Smoke run of an installed wheel: `python smoke_installed.py` where only core dependencies are installed.

No test module: it must run where pytest and torch are missing, and from a folder without the sources.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

# what the extras bring; a core install may fail to import a module that needs one of these, but no package
OPTIONAL = {
    "cma", "diffrax", "equinox", "huggingface_hub", "jax", "onnx", "optuna", "ray", "rebound", "sklearn",
    "stable_baselines3", "tensorboard", "torch", "torchdiffeq", "torchode",
}  # fmt: skip
# the packages that are PyTorch through and through
TORCH_PACKAGES = {
    "stepsmith.controllers.strengths", "stepsmith.envs.regularization", "stepsmith.flows",
    "stepsmith.integrators.neural", "stepsmith.neural", "stepsmith.train.flows",
}  # fmt: skip
ROOMS = ("integrators", "controllers", "policies", "envs", "train")


def check_origin() -> None:
    """The package comes from site-packages with its data, and puts no bare room beside itself."""
    import stepsmith

    home = Path(stepsmith.__file__).parent
    if home.parent.name != "site-packages":
        raise SystemExit(f"stepsmith was imported from {home}, not from an installed wheel")
    if not (home / "py.typed").is_file():
        raise SystemExit("py.typed is missing from the installed package")
    loose = [room for room in ROOMS if importlib.util.find_spec(room) is not None]
    if loose:
        raise SystemExit(f"installed beside stepsmith, not inside it: {loose}")


def import_all() -> tuple[int, list[str]]:
    """Import every module; return how many were, and the names of those that need an extra."""
    import stepsmith

    imported, skipped = 0, []
    for info in pkgutil.walk_packages(stepsmith.__path__, "stepsmith."):
        if info.name.endswith(".__main__"):
            continue
        try:
            importlib.import_module(info.name)
            imported += 1
        except ModuleNotFoundError as error:
            if (info.ispkg and info.name not in TORCH_PACKAGES) or (error.name or "").partition(".")[0] not in OPTIONAL:
                raise
            skipped.append(info.name)
    for room in ROOMS:
        if f"stepsmith.{room}" not in sys.modules:
            raise SystemExit(f"stepsmith.{room} is not in the installed package")
    return imported, skipped


def solve_one() -> None:
    """A solve with a law and one with a controller of the zoo, from the installed package."""
    import stepsmith as ss

    problem = ss.problems.make("three_body", seed=3)
    for controller in ("pi34", "three-body"):
        sol = ss.solve(problem, controller=controller, rtol=1e-6, atol=1e-6)
        if not sol.success:
            raise SystemExit(f"three_body with {controller}: {sol.message}")


def other_solvers() -> None:
    """A controller in SciPy's solver, as a C header, and played to an adapter; and what an extra brings is named."""
    from scipy.integrate import solve_ivp

    import stepsmith as ss
    from stepsmith.controllers.export import c_header

    controller = ss.controller("pi34")
    sol = solve_ivp(lambda t, y: -y, (0.0, 1.0), [1.0], method=controller.for_scipy("RK45"))
    if not sol.success or abs(sol.y[0, -1] - 0.36787944) > 1e-3:
        raise SystemExit(f"SciPy under pi34: {sol.message}")
    if "pi34_decide" not in c_header(controller):
        raise SystemExit("the C header has no decision")
    try:
        controller.for_diffrax()
    except ImportError as error:
        if "pip install 'stepsmith[diffrax]'" not in str(error):
            raise SystemExit(f"a missing extra is not named: {error}") from error


def command_line() -> None:
    """The program that the wheel installs, in a process of its own: it answers, lists, shows a file, names an extra."""
    import stepsmith

    script = Path(sys.executable).with_name("stepsmith.exe" if os.name == "nt" else "stepsmith")
    if not script.is_file():
        raise SystemExit(f"the wheel installed no program {script}")
    expected = {
        ("--version",): (0, f"stepsmith {stepsmith.__version__}\n"),
        ("--help",): (0, "compare"),
        ("bench", "--help"): (0, "evaluate"),
        ("list", "methods"): (0, "tsit5"),
        ("inspect", "three-body"): (0, "three_body"),
        ("kernel", "lorenz"): (0, "def "),
        ("list", "nosuch"): (2, "stepsmith: unknown kind 'nosuch'"),
        ("tune", "lorenz"): (1, "pip install 'stepsmith[train]'"),
    }
    for program in ((str(script),), (sys.executable, "-m", "stepsmith")):
        for args, (code, said) in expected.items():
            done = subprocess.run([*program, *args], capture_output=True, text=True, timeout=300)
            out = done.stdout if code == 0 else done.stderr
            if done.returncode != code or said not in out or "Traceback" in done.stderr:
                told = f"exit code {done.returncode}\n{done.stdout}{done.stderr}"
                raise SystemExit(f"{' '.join([*program, *args])}: {told}")


def main() -> None:
    check_origin()
    imported, skipped = import_all()
    print(f"{imported} modules imported; {len(skipped)} need an extra: {', '.join(skipped) or 'none'}")
    solve_one()
    other_solvers()
    command_line()
    present = sorted(name for name in OPTIONAL if name in sys.modules)
    if present:
        raise SystemExit(f"a core install imported {present}")


if __name__ == "__main__":
    main()
