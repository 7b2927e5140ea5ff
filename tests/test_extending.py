"""The extension guide's examples run as they stand, from a folder of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import guide

EXAMPLES = guide.examples()


def test_the_guide_has_its_examples():
    kinds = ("law", "family", "feature", "action", "reward", "env", "host")
    assert set(EXAMPLES) == {"ralston.py", *(f"my_{kind}.py" for kind in kinds)}
    assert len(EXAMPLES) == guide.GUIDE.read_text().count("```python")


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs_outside_the_repository(name, tmp_path):
    for file, text in EXAMPLES.items():
        (tmp_path / file).write_text(text)
    env = {**os.environ, "STEPSMITH_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, name], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip()
    assert "Warning" not in done.stderr, done.stderr


def test_registered_things_called_as_a_person_would(tmp_path):
    """By name in solves, environments and configs; pickled, copied, in threads and a forked process."""
    for file, text in EXAMPLES.items():
        (tmp_path / file).write_text(text)
    (tmp_path / "ways.py").write_text((Path(__file__).parent / "helpers" / "registered_ways.py").read_text())
    done = subprocess.run([sys.executable, "ways.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.stdout.endswith("all\n"), done.stderr[-2000:]
