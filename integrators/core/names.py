"""Unknown names answered with the nearest known one, the same way in every registry of the package."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from . import elsewhere


def nearest(name: str, options: Iterable[str]) -> str:
    """Return the option closest to `name`, or "" where none resembles it.

    Case, and the choice between "-" and "_", do not count against a candidate.  Resemblance is the
    Ratcliff-Obershelp ratio of `difflib`, at least 0.5; ties go to the option that comes first.
    """
    folded: dict[str, str] = {}
    for option in options:
        folded.setdefault(_fold(option), option)
    close = difflib.get_close_matches(_fold(str(name)), folded, n=1, cutoff=0.5)
    return folded[close[0]] if close else ""


def unknown(kind: str, name: object, options: Iterable[str], called: str | None = None) -> ValueError:
    """Return (not raise) the error for a `name` that is not among `options`.

    `kind` is the noun that a user would say: "method", "controller", "family".  The message holds the name as
    given (its first 80 characters), what another library's name is here (`elsewhere`), or else the nearest option where
    one resembles it, and all options in sorted order.  called: how the message calls it, where that is not `kind`:

    >>> raise unknown("method", "dorpi5", ["bs32", "dopri5"])
    Traceback (most recent call last):
    ...
    ValueError: unknown method 'dorpi5': did you mean 'dopri5'? known: bs32, dopri5
    """
    known = sorted(options)
    hint = elsewhere.hint(kind, name, known) if isinstance(name, str) else ""
    here = next((option for option in known if _fold(option) == _fold(str(name))), None)
    if here is not None and f"did you mean {here!r}" not in hint:
        hint = ""  # a name of ours but for its case
    close = nearest(name, known) if isinstance(name, str) and not hint else ""
    hint = f"did you mean {close!r}? " if close else hint
    given = repr(name)
    given = given if len(given) <= 80 else f"{given[:77]}..."
    return ValueError(f"unknown {called or kind} {given}: {hint}known: {', '.join(known) or 'none'}")


def _fold(name: str) -> str:
    return name.lower().replace("-", "_")
