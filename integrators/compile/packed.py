"""Lane loops that stay loops until what they call stands in them.

Numba optimises every function once by itself, before the functions that it calls are copied into it.  A lane loop whose
body is little more than a call looks small then, and is written out lane by lane: the copies are scalar code, which no
later pass brings together again.  `packed` in the loop's body tells LLVM to leave the loop as it is; with the called
function in it, the vectoriser makes packed instructions of it.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core.errors import TypingError
from numba.extending import intrinsic


class _LoopId(ir.MDValue):
    """A loop's node: a distinct one that names itself first, as LLVM wants it."""

    def descr(self, buf: list[str]) -> None:
        operands = ", ".join(op.get_reference() for op in self.operands)
        buf += ["distinct !{ ", self.get_reference(), ", ", operands, " }\n"]


def _loop_id(module: ir.Module) -> _LoopId:
    """A node that forbids to write the loop out."""
    node = _LoopId(module, [module.add_metadata(["llvm.loop.unroll.disable"])], name=str(len(module.metadata)))
    return node


def _mark_next_loop(builder: ir.IRBuilder) -> None:
    """Give the next branch back to an earlier block the loop's node: that of the innermost loop around this place."""
    branch = builder.branch

    def marked(target: Any) -> Any:
        back = target.is_terminated
        instruction = branch(target)
        if back:
            instruction.set_metadata("llvm.loop", _loop_id(builder.module))
            del builder.branch
        return instruction

    builder.branch = marked


@intrinsic
def packed(typingctx, width):
    """Keep the loop around this call a loop until it is vectorised; width: its number of lanes, a literal.  Nothing
    where that is 1.
    """
    if not isinstance(width, types.IntegerLiteral):
        raise TypingError("packed: width must be a compile-time constant")
    lanes = width.literal_value

    def codegen(context, builder, sig, args):
        if lanes > 1:
            _mark_next_loop(builder)
        return context.get_dummy_value()

    return types.none(width), codegen
