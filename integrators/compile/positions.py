"""Views of a state (positions, velocities) whose velocities cannot be read: what accelerations of q'' = a(t, q) get."""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba import TypingError, types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

from . import lanes, noted

#: what the compiler says of accelerations that read a velocity
VELOCITY = "is a velocity, and q'' = a(t, q) depends on time and positions alone"


class PositionsType(lanes.LaneViewType):
    """Numba type of such a view: a frozen lane view, of which the first half can be read."""

    def __init__(self, width: int, length: int) -> None:
        self.width, self.length, self.frozen = width, length, True
        types.Type.__init__(self, name=f"Positions({width}, {length})")

    @property
    def readable(self) -> int:
        """How many elements can be read, the first ones."""
        return self.length // 2


@register_model(PositionsType)
class _PositionsModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, ir.DoubleType().as_pointer())


@intrinsic
def positions(typingctx, block, offset, width, length):
    """As `lanes.frozen`, of a state whose velocities cannot be read: a constant index of one is a compile-time error,
    and others give NaN.
    """
    if not (isinstance(width, types.IntegerLiteral) and isinstance(length, types.IntegerLiteral)):
        raise TypingError("positions: width and length must be compile-time constants")

    def codegen(context, builder, sig, args):
        array = cgutils.create_struct_proxy(sig.args[0])(context, builder, value=args[0])
        index = context.cast(builder, args[1], sig.args[1], types.intp)
        return builder.gep(array.data, [index], inbounds=True)

    return PositionsType(width.literal_value, length.literal_value)(block, offset, width, length), codegen


@infer
class _ConstantGet(AbstractTemplate):
    key = "static_getitem"

    def generic(self, args: Any, kws: Any) -> None:
        ty, index = args
        if isinstance(ty, PositionsType) and isinstance(index, int) and -ty.length <= index < ty.length:
            if index % ty.length >= ty.readable:
                raise TypingError(f"y[{index}] {VELOCITY}")


def _place(builder: Any, ty: PositionsType, index: Any) -> tuple[Any, Any]:
    """As `lanes.place`, where a velocity is no element."""
    at, inside = lanes.place(builder, index, ty.length)
    known = builder.icmp_unsigned("<", at, ir.Constant(at.type, ty.readable))
    return at, known if inside is None else builder.and_(inside, known)


@lower_builtin(operator.getitem, PositionsType, types.Integer)
def _lower_getitem(context, builder, sig, args):
    ty = sig.args[0]
    at, inside = _place(builder, ty, args[1])
    address = builder.gep(args[0], [builder.mul(at, ir.Constant(at.type, ty.width))], inbounds=True)
    return lanes.or_nan(builder, inside, builder.load(address))


class NotedPositions(noted.NotedType):
    """A noted view (`noted`) of such a state: reading a velocity sets its flag, too."""

    def __init__(self, of: PositionsType) -> None:
        self.of = of
        types.Type.__init__(self, name=f"NotedPositions({of})")


@register_model(NotedPositions)
class _NotedPositionsModel(models.StructModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, [("view", fe_type.of), ("fault", noted.FAULT)])


@intrinsic
def noted_positions(typingctx, view, fault):
    """As `noted.noted`, of a view of positions."""

    def codegen(context, builder, sig, args):
        out = cgutils.create_struct_proxy(sig.return_type)(context, builder)
        out.view, out.fault = args
        return out._getvalue()

    return NotedPositions(view)(view, fault), codegen


@lower_builtin(operator.getitem, NotedPositions, types.Any)
def _lower_noted_getitem(context, builder, sig, args):
    ty = sig.args[0].of
    given = cgutils.create_struct_proxy(sig.args[0])(context, builder, value=args[0])
    _, inside = _place(builder, ty, args[1])
    builder.store(builder.or_(builder.load(given.fault), builder.not_(inside)), given.fault)
    own = signature(sig.return_type, ty, *sig.args[1:])
    return context.get_function(operator.getitem, own)(builder, (given.view, args[1]))
