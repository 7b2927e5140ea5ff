"""Dense output of methods with a formula a component, `dense_component(A, j, l, th)`: Z = y(t + th h)."""

from ..slots import N, W, inline
from .slots import dense_component


@inline
def dense(A, l, th):
    for i in range(N):
        dense_component(A, i*W + l, l, th)
