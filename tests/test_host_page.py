"""Every example of the page on hosts runs as it stands, from another folder."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "hosts.md").read_text(encoding="utf-8")
SECTIONS = re.split(r"(?m)^## ", PAGE)[1:]
FENCED = re.compile(r"(?ms)^```python\n(.*?)^```")
EXAMPLES = {section.splitlines()[0]: block for section in SECTIONS for block in FENCED.findall(section)}


@pytest.mark.slow
@pytest.mark.parametrize("title", EXAMPLES)
def test_an_example_runs(title, tmp_path):
    script = tmp_path / "example.py"
    script.write_text(EXAMPLES[title])
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_there_is_one_for_every_host():
    assert {"SciPy", "torchdiffeq", "torchode", "diffrax", "REBOUND", "A host of your own"} <= set(EXAMPLES)
