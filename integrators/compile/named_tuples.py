"""Compiled code reads a named tuple by name too: p["k1"] is p.k1."""

from __future__ import annotations

import operator

import numba
from numba import types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin

from ..core.names import unknown


@infer_global(operator.getitem)
class _ByName(AbstractTemplate):
    def generic(self, args, kws):
        value, name = args
        if not isinstance(value, (types.NamedTuple, types.NamedUniTuple)) or not isinstance(name, types.StringLiteral):
            return None
        if name.literal_value not in value.fields:
            raise numba.TypingError(str(unknown("parameter", name.literal_value, value.fields)))
        return signature(value.types[value.fields.index(name.literal_value)], value, name)


@lower_builtin(operator.getitem, types.NamedTuple, types.StringLiteral)
@lower_builtin(operator.getitem, types.NamedUniTuple, types.StringLiteral)
def _lower(context, builder, sig, args):
    place = sig.args[0].fields.index(sig.args[1].literal_value)
    return builder.extract_value(args[0], place)
