"""What made a number: versions, commit, processor.  Written beside every figure and into every artefact."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

ALWAYS = ("stepsmith", "numpy", "numba", "scipy")
IF_IMPORTED = ("torch", "stable_baselines3", "gymnasium", "cma", "diffrax", "torchdiffeq", "heyoka")


def versions() -> dict[str, str]:
    """Python, the numerical packages, every training package already imported, and the platform."""
    found = {"python": platform.python_version()}
    for name in ALWAYS + tuple(n for n in IF_IMPORTED if n in sys.modules):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # a package that runs from a bare source tree has no metadata
    found["platform"] = f"{platform.system()} {platform.machine()}"
    found["cpu"] = cpu_model()
    return found


def commit(directory: str | Path | None = None) -> str | None:
    """Hash of the checkout that holds `directory` (default: this package); None outside a checkout.

    "+dirty" follows it where tracked files differ.
    """
    here = Path(__file__).resolve()
    where = here.parent if directory is None else Path(directory)
    # an installed copy may lie inside somebody else's repository: the file itself must be tracked
    if directory is None and _git(where, "ls-files", "--error-unmatch", here.name) is None:
        return None
    head = _git(where, "rev-parse", "HEAD")
    if head is None:
        return None
    changed = _git(where, "status", "--porcelain", "--untracked-files=no")
    return head + ("+dirty" if changed else "")


def cpu_model() -> str:
    """The processor's name, and how many cores this process may use."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass  # not Linux: the platform's own name stands
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count()
    return f"{name}, {cores} core{'s' if cores != 1 else ''}"


def provenance() -> dict[str, object]:
    """{"versions": {...}, "commit": hash or None}.

    The commit is the one that this process found when it first asked: that is the code it runs.
    """
    return {"versions": versions(), "commit": _commit()}


@functools.cache
def _commit() -> str | None:
    return commit()


def changes(before: dict[str, Any]) -> str:
    """What has changed since a run's provenance was written, as text ("numpy 2.1.0, now 2.2.0"); empty for nothing."""
    then = before.get("versions")
    now = versions()
    return (
        ", ".join(f"{k} {v}, now {now[k]}" for k, v in then.items() if now.get(k, v) != v)
        if isinstance(then, dict)
        else ""
    )


def _git(where: Path, *args: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(where), *args], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
