"""Every document is true to the repository: links, files and modules that it names exist, and its prose is wrapped."""

from __future__ import annotations

import ast
import importlib
import re
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = (
    "", "docs", "docs/tutorials", "docs/howto", "docs/reference", "benchmarks", "controllers/zoo", "examples",
)  # fmt: skip
DOCUMENTS = [path.relative_to(ROOT).as_posix() for folder in FOLDERS for path in sorted((ROOT / folder).glob("*.md"))]
ROOMS = ("integrators", "controllers", "policies", "envs", "train")
WIDTH = 120

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?<=\n\n)(?: {4}.*\n)+")
MARKER = re.compile(r"<!-- (?:(?:table|figure) \S+|end) -->")
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
FILE = re.compile(r"[\w.-]+(?:/[\w.-]+)*\.(?:py|md|toml|json|safetensors|png)|[\w.-]+(?:/[\w.-]+)+/?|[\w-]+/")
#: tags of TensorBoard, which look like files (docs/training.md)
TAGS = {
    "train/loss", "train/fitness", "train/learning_rate", "train/...", "stepsmith/...", "stepsmith/validation_ratio",
    "stepsmith/best", "stepsmith/rejected_share", "stepsmith/with_cost", "stepsmith/numbers",
}  # fmt: skip
ENVIRONMENT = re.compile(r".+-v\d+")
MODULE = re.compile(r"stepsmith(?:\.[A-Za-z_]\w*)+")
TOP = {*ROOMS, "stepsmith", "benchmarks", "docs", "examples", "tests", ".ci"}
"""Folders at the top of the repository: a path that begins with one of them is meant to be in it."""


def prose(text: str) -> str:
    """The document without its blocks of code, fenced or indented; their lines stay, empty: line numbers hold."""
    for code in (FENCE, INDENTED):
        text = code.sub(lambda block: "\n" * block.group().count("\n"), text)
    return text


def anchors(text: str) -> set[str]:
    """The names by which links reach the headings of a document, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def words(text: str) -> list[str]:
    """The words of all code spans of a document, without the punctuation around them."""
    return [word.strip("\"',;:()[]=") for span in CODE.findall(prose(text)) for word in span.split()]


def read(document: str) -> str:
    """The text of a document, which is named by its path from the top of the repository."""
    return (ROOT / document).read_text(encoding="utf-8")


def is_there(word: str, document: str) -> bool:
    """Whether a path leads to something, from the top of the repository or from the document's folder.

    A name without a folder may be that of any file in the rooms: documents name a folder once and then its files.
    """
    if (ROOT / word).exists() or (ROOT / document).parent.joinpath(word).exists():
        return True
    return "/" not in word and any(path for room in ROOMS for path in (ROOT / room).rglob(word))


def thing(name: str) -> object:
    """The module, or the attribute of a module, that a dotted name stands for."""
    first, *rest = name.split(".")
    found, path = importlib.import_module(first), first
    for part in rest:
        path = f"{path}.{part}"
        found = getattr(found, part) if hasattr(found, part) else importlib.import_module(path)
    return found


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_relative_link_leads_somewhere(document):
    broken = []
    for target in LINK.findall(prose(read(document))):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / document).parent / path if path else ROOT / document
        if not file.exists() or (anchor and anchor not in anchors(file.read_text(encoding="utf-8"))):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_file_that_is_named_exists(document):
    named = [word for word in words(read(document)) if FILE.fullmatch(word) and not ENVIRONMENT.fullmatch(word)]
    named = [word for word in named if word not in TAGS]
    ours = [word for word in named if word.split("/")[0] in TOP or word.endswith((".py", ".md"))]
    assert [word for word in ours if not is_there(word, document)] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_module_that_is_named_can_be_imported(document):
    """Names of `stepsmith` in code spans, and what the Python blocks import of it, none of them by an old path."""
    text = read(document)
    names = [match.group() for word in words(text) if (match := MODULE.match(word))]
    for language, block in FENCE.findall(text):
        for node in ast.walk(ast.parse(block)) if language == "python" else ():
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("stepsmith"):
                names += [f"{node.module}.{alias.name}" for alias in node.names]
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        for name in names:
            assert thing(name) is not None


@pytest.mark.parametrize("document", DOCUMENTS)
def test_prose_is_wrapped(document):
    """Tables, blocks of code and lines that hold a link may be longer; markers of figures are not shown."""
    lines = enumerate(MARKER.sub("", prose(read(document))).splitlines(), 1)
    assert [n for n, line in lines if len(line) > WIDTH and not line.startswith("|") and "](" not in line] == []


def test_the_checks_see_what_is_wrong():
    text = "# A `b` title, twice\n\nSee `integrators/nosuch.py` and `stepsmith.nosuch.thing`.\n```\n# no heading\n```\n"
    assert anchors(text) == {"a-b-title-twice"}
    assert words(text) == ["b", "integrators/nosuch.py", "stepsmith.nosuch.thing"]
    assert FILE.fullmatch("integrators/nosuch.py") and not is_there("integrators/nosuch.py", "README.md")
    assert is_there("integrators/core/record.py", "README.md") and is_there("extending.md", "docs/limits.md")
    with pytest.raises((ImportError, AttributeError)):
        thing("stepsmith.nosuch.thing")
