"""The documentation site: its Python compiles, and everything that the API reference names is there.

Whether links and anchors lead somewhere `mkdocs build --strict` says (`make docs`).
"""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import pytest

import commands
import pages

ROOT = Path(__file__).parents[1]
MARKDOWN = ["README.md", *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))]
NOTEBOOKS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.ipynb"))
REFERENCE = sorted((ROOT / "docs" / "reference").glob("*.md"))
ENTRY = re.compile(r"^::: (\S+)\n    options:\n      heading: (\S+)\n      toc_label: (\S+)$", re.MULTILINE)
NEW = ("docs/tutorials/", "docs/howto/", "docs/reference/", "docs/faq.md", "docs/glossary.md", "docs/index.md")
ADDRESSED = [*[page for page in MARKDOWN if page.startswith(NEW)], *NOTEBOOKS]


def thing(name: str) -> object:
    """What a dotted name stands for; a module goes before a function of its name that its package shows."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            found = getattr(found, part)
        return found
    raise ImportError(name)


def as_written(heading: str) -> object:
    """What a reader gets who types an entry's heading, by attributes alone where it begins with `ss.`."""
    if not heading.startswith("ss."):
        return thing(heading)
    found: object = importlib.import_module("stepsmith")
    for part in heading.split(".")[1:]:
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("page", [page for page in (*MARKDOWN, *NOTEBOOKS) if pages.blocks(page)])
def test_the_python_of_a_page_compiles(page):
    for number, block in enumerate(pages.blocks(page), 1):
        compile(block, f"block {number} of {page}", "exec")


@pytest.mark.parametrize("page", REFERENCE, ids=lambda page: page.stem)
def test_what_the_reference_names_is_there(page):
    text = page.read_text(encoding="utf-8")
    entries = ENTRY.findall(text)
    assert len(entries) == text.count("\n::: ")
    for path, heading, label in entries:
        found = thing(path)
        assert getattr(found, "__doc__", None), f"{path} has no docstring"
        assert heading == label
        if "." in heading:
            assert as_written(heading) is found, f"{heading} is not {path}"


def test_every_public_name_of_the_package_is_in_the_reference():
    import stepsmith as ss

    headings = {heading for page in REFERENCE for _, heading, _ in ENTRY.findall(page.read_text(encoding="utf-8"))}
    rooms = {"problems", "sdes", "envs", "controllers", "integrators", "policies", "train", "neural", "flows"}
    assert {f"ss.{name}" for name in ss.__all__ if name not in rooms} <= headings
    kinds = {"REGULARISERS", "regularisers", "strength"}  # a table and two modules, whose members have entries
    assert {f"ss.neural.{name}" for name in ss.neural.__all__ if name not in kinds} <= headings
    tables = {"GRIDS", "KINDS", "METHODS", "PREDICTIONS", "PROCESSES"}
    assert {f"ss.flows.{name}" for name in ss.flows.__all__ if name not in tables} <= headings


def test_the_page_on_the_command_line_is_the_programs():
    lines = commands.PAGE.read_text(encoding="utf-8").splitlines()
    said = "python tests/helpers/commands.py writes the table anew"
    assert [line for line in lines if line.startswith("| `stepsmith ")] == list(commands.rows()), said


@pytest.mark.parametrize("page", ADDRESSED)
def test_a_page_says_who_it_is_for(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    if page in NOTEBOOKS:
        text = "".join(json.loads(text)["cells"][0]["source"])
    assert re.search(r"\b(?:for|of)\s+(?:\w+\s+){0,3}(?:people|everyone|researchers|reader)\b", text)


@pytest.mark.parametrize("page", NOTEBOOKS)
def test_a_notebook_is_kept_with_its_output(page):
    cells = json.loads((ROOT / page).read_text(encoding="utf-8"))["cells"]
    assert any(cell.get("outputs") for cell in cells)
    assert not [o for cell in cells for o in cell.get("outputs", []) if o["output_type"] == "error"]


def test_the_checks_see_what_is_wrong():
    text = "x\n::: stepsmith.nosuch\n    options:\n      heading: ss.nosuch\n      toc_label: ss.nosuch\n"
    (entry,) = ENTRY.findall(text)
    with pytest.raises(AttributeError):
        thing(entry[0])
    with pytest.raises(AttributeError):
        as_written(entry[1])
