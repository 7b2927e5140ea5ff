"""The Python of the documentation's pages and notebooks, and a way to run it in one namespace with small budgets."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FENCED = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> list[str]:
    """The fenced Python of a Markdown page, or the code cells of a notebook, in their order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    if page.endswith(".ipynb"):
        return ["".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    return FENCED.findall(text)


def run(page: str, smaller: Mapping[str, str]) -> dict[str, object]:
    """Run a page from its first block to its last; the namespace at the end.

    smaller: texts of the page, every one of which must be there, and what stands in their place: smaller budgets.
    """
    names: dict[str, object] = {"__name__": "page"}
    found = blocks(page)
    for text in smaller:
        assert any(text in block for block in found), f"{page} no longer holds {text!r}"
    for number, block in enumerate(found, 1):
        for text, small in smaller.items():
            block = block.replace(text, small)
        exec(compile(block, f"block {number} of {page}", "exec"), names)
    return names
