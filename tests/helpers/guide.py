"""The examples of the extension guide as files: `python guide.py FOLDER` writes them there; needs nothing but Python.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "extending.md"


def examples() -> dict[str, str]:
    """Text of every example, by the file name in its first line."""
    return {m[1]: m[0] for m in re.finditer(r"(?ms)^# (\w+\.py)\n.*?(?=^```)", GUIDE.read_text())}


if __name__ == "__main__":
    for name, text in examples().items():
        (Path(sys.argv[1]) / name).write_text(text)
