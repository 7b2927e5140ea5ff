"""Cells of the stored tables: how a number is written in a file, and how it is shown on a page.

A cell is a text, a number, null (nothing is shown), a list [value, low, high] of three numbers, or an object
{"value": ..., "low": ..., "high": ..., "before": ..., "after": ...} with texts around the number.  Of an object with
a "range" (the sign between its ends: "..", " to " or "-") low and high are the least and the greatest of several runs,
else they are the ends of an interval.  An "aside" is a second number, in parentheses: "1.27 (.67)".

House style: no zero before the decimal point, brackets for intervals (".90 [.88, .92]"), parentheses for ranges
(".61 (.57...69)", that is .57 to .69).  A number is shown with the digits that stand in the file, unless digits are
asked for.
"""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?"
"""A number as programs and pages write it."""
CELL = re.compile(
    rf"(?P<before>[^\d\[\]()]*?)(?P<value>{NUMBER})"
    rf"(?: \[(?P<low>{NUMBER}), (?P<high>{NUMBER})\]"
    rf"| \((?P<least>{NUMBER})(?P<to>\.\.| to |-)(?P<most>{NUMBER})\)"
    rf"| \((?P<aside>{NUMBER})\))?"
    r"(?P<after>[^\d]*)"
)


class Number(str):
    """A number as it is written: 1.10 keeps its last digit, which a float would lose."""

    @property
    def decimal(self) -> Decimal:
        return Decimal(self)


def written(text: str) -> Number:
    """The number that a page or a program wrote, in the form of JSON: ".9" becomes 0.9."""
    sign, bare = ("-", text[1:]) if text.startswith("-") else ("", text.removeprefix("+"))
    bare = f"0{bare}" if bare.startswith(".") else bare
    return Number(sign + (bare[:-1] if bare.endswith(".") else bare))


def parsed(text: str) -> Any:
    """The cell that a text of a table stands for; what is more than one number with its interval stays text."""
    text = text.strip()
    found = CELL.fullmatch(text)
    if not text or found is None or (found["before"] and not found["before"].endswith((" ", "<", ">"))):
        return text or None
    value, low, high = found["value"], found["low"] or found["least"], found["high"] or found["most"]
    signed = value.startswith("+") or (low or "").startswith("+") or (high or "").startswith("+")
    cell: dict[str, Any] = {"value": written(value)}
    if found["aside"]:
        cell["aside"] = written(found["aside"])
    if low is not None:
        cell |= {"low": written(low), "high": written(high)}
    cell |= {"range": found["to"]} if found["to"] else {}
    cell |= {"sign": True} if signed else {}
    cell |= {side: found[side] for side in ("before", "after") if found[side]}
    if cell.keys() == {"value"}:
        return cell["value"]
    return [cell["value"], cell["low"], cell["high"]] if cell.keys() == {"value", "low", "high"} else cell


def parts(cell: Any) -> dict[str, Any]:
    """A cell that holds a number, as an object."""
    if isinstance(cell, Number):
        return {"value": cell}
    if isinstance(cell, list) and len(cell) == 3:
        return dict(zip(("value", "low", "high"), cell, strict=True))
    if isinstance(cell, dict) and "value" in cell:
        return cell
    raise ValueError(f"{cell!r} holds no number")


def number(value: Number, digits: int | None = None, sign: bool = False) -> str:
    """A number in the house style, with as many digits after the point as asked for (None: as written)."""
    text = str(value)
    if digits is not None:
        rounded = value.decimal.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)
        text = str(rounded if rounded else abs(rounded))
    zero = not Decimal(text)
    text = "+" + text if sign and not text.startswith("-") else text
    if zero or "e" in text.lower():
        return text
    return re.sub(r"^([-+]?)0\.", r"\1.", text)


def shown(cell: Any, digits: int | None = None, part: str = "all") -> str:
    """A cell as it stands on a page.

    `part` is "all", "value", "bracketed" (without the texts around it), "interval" (the brackets alone), "low", "high"
    or "aside".
    """
    if cell is None:
        return ""
    if isinstance(cell, str) and not isinstance(cell, Number):
        return cell
    found = parts(cell)
    sign = bool(found.get("sign"))
    value, *ends = (number(found[k], digits, sign) for k in ("value", "low", "high") if k in found)
    if part == "aside":
        return number(found["aside"], digits)
    if part in ("value", "low", "high"):
        return {"value": value, **dict(zip(("low", "high"), ends, strict=False))}[part]
    between = ""
    if ends:
        to = found.get("range")
        between = f"({ends[0]}{to}{ends[1]})" if to else f"[{ends[0]}, {ends[1]}]"
    if part == "interval":
        return between
    aside = f"({number(found['aside'], digits)})" if "aside" in found else ""
    bracketed = " ".join(text for text in (value, between, aside) if text)
    return bracketed if part == "bracketed" else found.get("before", "") + bracketed + found.get("after", "")
