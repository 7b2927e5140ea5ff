"""Paragraphs with marked figures, wrapped at the width of a page.  Markers do not count, as they are not shown."""

from __future__ import annotations

import re

WIDTH = 120
FIGURE = re.compile(r"<!-- figure \S+ -->(.*?)<!-- end -->", re.DOTALL)
WORD = re.compile(r"(?:<!-- figure \S+ -->.*?<!-- end -->|\S)+", re.DOTALL)
"""What stays in one line: a marked figure with what touches it, or a word."""
NO_START = re.compile(r"<!--|[-+*](?:$|\s)|\d+[.)]$|[#>|=]|```")
"""A word that must not stand first in a line: it would begin something else than a line of the paragraph."""
FENCE = re.compile(r"(^```.*?^```[^\S\n]*$)", re.MULTILINE | re.DOTALL)
PARAGRAPH = re.compile(r"(?:^[^\n]*\S[^\n]*(?:\n|\Z))+", re.MULTILINE)
ITEM = re.compile(r"(?P<indent> *)(?P<bullet>[-*+] |\d+\. )?")
LEFT_ALONE = re.compile(r"\s*(?:\||#|```|<!-- (?:table|end))| {4}\S", re.MULTILINE)


def wrapped(text: str) -> str:
    """The page with every paragraph and list item that holds a marked figure wrapped anew."""
    pieces = FENCE.split(text)
    return "".join(p if i % 2 else PARAGRAPH.sub(lambda found: _block(found[0]), p) for i, p in enumerate(pieces))


def _block(block: str) -> str:
    """A block of lines: a paragraph, or the items of a list one below the other."""
    if not FIGURE.search(block) or LEFT_ALONE.match(block):
        return block
    items: list[list[str]] = []
    for line in block.splitlines():
        if not items or re.match(r" *(?:[-*+] |\d+\. )", line):
            items.append([])
        items[-1].append(line)
    made = [_item(lines) if FIGURE.search("\n".join(lines)) else "\n".join(lines) for lines in items]
    return "\n".join(made) + ("\n" if block.endswith("\n") else "")


def _item(lines: list[str]) -> str:
    """One paragraph or list item, filled."""
    head = ITEM.match(lines[0])
    assert head is not None
    first = head["indent"] + (head["bullet"] or "")
    indent = " " * len(first)
    words = WORD.findall("\n".join(lines)[len(first) :])
    filled: list[list[str]] = [[]]
    for word in words:
        if filled[-1] and len(indent) + len(_seen([*filled[-1], word])) > WIDTH:
            filled.append([])
        filled[-1].append(word)
        while len(filled) > 1 and NO_START.match(filled[-1][0]) and len(filled[-2]) > 1:
            filled[-1].insert(0, filled[-2].pop())
    return "\n".join((indent if i else first) + " ".join(line) for i, line in enumerate(filled))


def _seen(words: list[str]) -> str:
    """A line as it is shown."""
    return FIGURE.sub(lambda found: found[1], " ".join(words))
