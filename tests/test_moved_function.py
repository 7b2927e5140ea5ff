"""A right-hand side that is found under another module's name has its machine code compiled anew, and not looked for
in the module that is gone.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent / "helpers" / "moved_function.py"
FILE = """
import numpy as np
import stepsmith as ss

def rates(t, y):
    if t < 0.0:  # a value decides: it is compiled with its arrays
        return y
    return np.array([[-50.0, 49.0], [49.0, -50.0]]) @ y

FAMILY = ss.family(ss.Problem(rates, [1.0, 0.5], (0.0, 1.0), name="moved"), vary={"y0": ("relative", 0.1)}, stiff=True,
                   wanted_error=1e-4, quiet=True)
"""


def run(place: str, folder: Path, cache: Path) -> str:
    path = f"{folder}:{os.environ.get('PYTHONPATH', '')}"
    env = {**os.environ, "STEPSMITH_CACHE_DIR": str(cache), "PYTHONPATH": path}
    found = subprocess.run([sys.executable, SCRIPT, place], env=env, cwd=folder, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_by_module_by_file_and_by_module_again(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "kinetics_of_mine.py").write_text(FILE)
    cache = tmp_path / "cache"
    first = run("kinetics_of_mine:FAMILY", folder, cache)
    (tmp_path / "other.py").write_text(FILE)
    assert run(f"{tmp_path / 'other.py'}:FAMILY", tmp_path, cache) == first
    (folder / "kinetics_of_mine.py").rename(folder / "renamed.py")
    assert run("renamed:FAMILY", folder, cache) == first
