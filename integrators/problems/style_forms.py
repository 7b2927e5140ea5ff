"""How a person's function is called, as its signature and the parameters' layout say (`styles`)."""

from __future__ import annotations

import inspect

from .style import FILLS, Style, refusal


def form_of(style: Style) -> str:
    """How the function is called: "pass and fill" (p and out), "pass" (p), "fill" (out), "fill or return", "" (only t
    and y), "named and fill", "named"; with args, these are further arguments: "spread and fill", "spread".
    """
    count, names, keywords = parameters_of(style)
    if len(names) >= 2 and names[1] in ("t", "time") and names[0] in ("y", "u", "x", "z", "state"):
        raise refusal(style, f"it takes ({', '.join(names)}), but time comes first: f(t, y)")
    if style.role != "rhs" and count == 2 and len(names) == 2:
        return ""  # it may leave the parameters out
    if style.layout.shapes is not None:
        more = len(style.layout.shapes)
        if count < 2 + more <= len(names):  # args in place of defaults, as SciPy passes them
            return "spread"
        return _one_of(style, count, {2 + more: "spread", 3 + more: "spread and fill"})
    if style.layout.names is not None:
        more = len(style.layout.names)
        if names[2 : 2 + more] == style.layout.names and more:
            if count < 2 + more:
                return "named"
            return _one_of(style, count, {2 + more: "named", 3 + more: "named and fill"})
        if set(names[2:count]) >= set(style.layout.names) and more:
            order = ", ".join(style.layout.names)
            raise refusal(style, f"it takes ({', '.join(names)}), but p has its names in the order {order}")
        if count == 2:
            _refuse_lost(style, [name for name in (*names[2:], *keywords) if name in style.layout.names])
    elif style.m and count == 2 and len(names) > 2:
        if names[2] in ("p", "params", "parameters"):
            return "pass"
        _refuse_lost(style, list(names[2:]))
    third = names[2:3]  # (without a default: count is 3 where it is used)
    if count == 3 and style.m == 0 and third and third[0] in ("dy", "du", "dydt", "out", "J", "ydot"):
        return "fill"
    # a function whose arguments cannot be read (*args) is called as f(t, y, p)
    if count == 2 and style.m > 0:
        if len(names) < 3:
            raise refusal(style, f"it takes (t, y), but p holds {style.m} values: take p as the third argument")
        return "pass"  # the third argument has a default
    third_form = "fill or return" if style.m == 0 else "pass"
    return _one_of(style, count, {2: "", 3: third_form, 4: "pass and fill", -1: "pass"})


def _refuse_lost(style: Style, names: list[str]) -> None:
    """ValueError where p would not reach parameters of the function, which would go on with its own defaults."""
    if names:
        what = ", ".join(names)
        raise refusal(
            style,
            f"it takes {what} by default or by keyword, so that the values in p would not reach it; write "
            f"f(t, y, p), or f(t, y, {what}) with p by name or with args=(...)",
        )


def _one_of(style: Style, count: int, forms: dict[int, str]) -> str:
    if count in forms:
        return forms[count]
    if count == -1:
        return next(form for form in forms.values() if "fill" not in form)
    wants = " or ".join(str(k) for k in sorted(forms) if k > 0)
    out = FILLS[style.role]
    raise refusal(
        style,
        f"it takes {count} arguments, but {wants} are expected: f(t, y, p) returns its values, f(t, y, p, {out}) "
        f"writes them into {out}, and further arguments come from args=(...)",
    )


def parameters_of(style: Style) -> tuple[int, tuple[str, ...], tuple[str, ...]]:
    """How many arguments the function takes without having defaults, -1 where that is open; the names of all that it
    takes by place, those with defaults last; and of those that it takes by keyword alone.
    """
    fn = getattr(style.fn, "py_func", style.fn)
    try:
        given = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):
        return -1, (), ()
    kinds = inspect.Parameter
    if any(p.kind == kinds.VAR_POSITIONAL for p in given):
        return -1, (), ()
    places = [p for p in given if p.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)]
    keywords = tuple(p.name for p in given if p.kind == kinds.KEYWORD_ONLY)
    return sum(p.default is kinds.empty for p in places), tuple(p.name for p in places), keywords
