"""A griffe extension: the arguments that a docstring explains in prose become a list in the API reference.

Docstrings of this package explain an argument as `name: ...` or `name, other: ...` at the beginning of a line or of a
sentence, or in two columns, `name    ...`.  Only names in the signature count, so that no other colon is taken for one.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

START = r"(?:^|(?<=\n)|(?<=[.;)]  )|(?<=[.;)] )|(?<=[.;)]\n))"

OUTSIDE = r"(?=[^`]*(?:`[^`]*`[^`]*)*$)"
PLACEHOLDER = re.compile(r"<(?=[a-z]+>)" + OUTSIDE)
"""The beginning of a `<name>` outside of code, which Markdown would take for HTML."""
BRACKETS = re.compile(r"\](?=\[)" + OUTSIDE)
"""Between two brackets outside of code, `[a][b]`, which Markdown would take for a link."""


def laid_out(text: str, names: list[str]) -> str:
    """The docstring's text with every explained argument as an item of a list."""
    text = BRACKETS.sub(r"]\\", PLACEHOLDER.sub(r"&lt;", text))
    if not names:
        return text
    name = r"\*{0,2}(?:" + "|".join(sorted(map(re.escape, names), key=len, reverse=True)) + ")"
    prose = re.compile(rf"{START}({name}(?:,\s+{name})*):(?=\s)")
    columns = re.compile(rf"(?:^|(?<=\n))({name}(?:,\s+{name})*)(?: {{3,}}|\n {{4,}})(?=\S)")
    paragraphs = []
    for paragraph in text.split("\n\n"):
        if paragraph.startswith("    "):  # a block of code
            paragraphs.append(paragraph)
            continue
        first, *rest = (columns if columns.match(paragraph) else prose).split(paragraph)
        parts = [first.strip()] if first.strip() else []
        if rest:
            items = zip(rest[::2], rest[1::2], strict=True)
            parts.append("\n".join(f"- **{' '.join(key.split())}**: {' '.join(said.split())}" for key, said in items))
        paragraphs.append("\n\n".join(parts))
    return "\n\n".join(paragraphs)


class Arguments(griffe.Extension):
    """Lay out the docstrings of functions and classes."""

    def on_function(self, *, func: griffe.Function, **_: Any) -> None:
        """A function's own arguments."""
        if func.docstring:
            func.docstring.value = laid_out(func.docstring.value, [p.name.lstrip("*") for p in func.parameters])

    def on_class_members(self, *, cls: griffe.Class, **_: Any) -> None:
        """The fields of a dataclass, and the arguments of __init__, which a class's docstring explains."""
        if cls.docstring:
            names = [name for name, member in cls.members.items() if member.is_attribute]
            init = cls.members.get("__init__")
            if isinstance(init, griffe.Function):
                names += [p.name.lstrip("*") for p in init.parameters if p.name != "self"]
            cls.docstring.value = laid_out(cls.docstring.value, names)
