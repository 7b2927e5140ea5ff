"""Arrays and lane views inside a trace: reading an element emits a load, writing one a store.

Elements stand at places that are known when the function is compiled, or at a run-time index plus a constant.  Around a
`Memory` stand what changes where elements live: `Local` keeps some in registers, `Known` knows some as constants,
`Part` is a lane view within a block.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from .symbols import F64, I64, TraceError, Value, Zero, coerce


class Index:
    """A run-time element index plus a constant."""

    __slots__ = ("ptr", "at")

    def __init__(self, ptr: ir.Value, at: int = 0) -> None:
        self.ptr = ptr
        self.at = at

    def __add__(self, k: int) -> Index:
        return Index(self.ptr, self.at + k)

    __radd__ = __add__


class Memory:
    """An array or lane view inside a trace: elements at constant places, or at a run-time index plus a constant."""

    def __init__(self, builder: ir.IRBuilder, base: ir.Value, stride: int, length: int | None, constant: bool) -> None:
        self.b, self.base, self.stride, self.length, self.constant = builder, base, stride, length, constant
        self.lanes: dict[int, ir.Value] = {}

    def _address(self, i: Any) -> ir.Value:
        if isinstance(i, Index):
            # one pointer to the lane, constant offsets from it: rows are then known not to overlap
            lane = self.lanes.get(id(i.ptr))
            if lane is None:
                lane = self.lanes[id(i.ptr)] = self.b.gep(self.base, [i.ptr], inbounds=True)
            return self.b.gep(lane, [ir.Constant(I64, i.at)], inbounds=True)
        if not isinstance(i, int):
            raise TraceError("an element's place must be known when the function is compiled")
        if self.length is not None:
            i = i + self.length if i < 0 else i
            if not 0 <= i < self.length:
                raise TraceError(f"index {i} is outside an array of length {self.length}")
        return self.b.gep(self.base, [ir.Constant(I64, i * self.stride)], inbounds=True)

    def __len__(self) -> int:
        if self.length is None:
            raise TraceError("the length of this array is not known when the function is compiled")
        return self.length

    def __getitem__(self, i: Any) -> Value:
        load = self.b.load(self._address(i))
        if self.constant:
            load.set_metadata("invariant.load", self.b.module.add_metadata([]))
        return Value(self.b, load, self.constant)

    def __setitem__(self, i: Any, x: Any) -> None:
        self.b.store(coerce(self.b, x, F64).v, self._address(i))


class Local:
    """Memory whose elements at `places` behind a run-time index live in registers for the length of one trace."""

    def __init__(self, memory: Memory, places: frozenset[int]) -> None:
        self.memory, self.places = memory, places
        self.kept: dict[int, Any] = {}

    def __getitem__(self, i: Index) -> Any:
        if i.at in self.kept:
            return self.kept[i.at]
        return self.memory[i]

    def __setitem__(self, i: Index, x: Any) -> None:
        if i.at in self.places:
            self.kept[i.at] = coerce(self.memory.b, x, F64)
        else:
            self.memory[i] = x


class Known:
    """Memory of which some elements are constants when the function is compiled; what is written to those is
    dropped.
    """

    def __init__(self, memory: Any, constants: tuple[tuple[int, float], ...]) -> None:
        self.memory = memory
        self.constants = {i: Zero() if x == 0.0 else x for i, x in constants}

    def __getitem__(self, i: int) -> Any:
        return self.constants[i] if i in self.constants else self.memory[i]

    def __setitem__(self, i: int, x: Any) -> None:
        if i not in self.constants:
            self.memory[i] = x


class Part:
    """`length` elements of a block, `stride` apart, from a run-time index on: a lane view inside a trace."""

    def __init__(self, memory: Any, start: Index, stride: int, length: int) -> None:
        self.memory, self.start, self.stride, self.length = memory, start, stride, length

    def _place(self, i: int) -> Index:
        if not isinstance(i, int):
            raise TraceError("an element's place must be known when the function is compiled")
        i = i + self.length if i < 0 else i
        if not 0 <= i < self.length:
            raise TraceError(f"index {i} is outside an array of length {self.length}")
        return self.start + i * self.stride

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, i: int) -> Any:
        return self.memory[self._place(i)]

    def __setitem__(self, i: int, x: Any) -> None:
        self.memory[self._place(i)] = x
