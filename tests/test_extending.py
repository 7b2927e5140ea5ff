"""The extension guide's examples run as they stand, from a folder of their own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import guide

EXAMPLES = guide.examples()


def test_the_guide_has_its_examples():
    assert set(EXAMPLES) == {"ralston.py", "my_law.py", "my_family.py", "my_feature.py", "my_reward.py", "my_host.py"}
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
