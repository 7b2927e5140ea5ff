"""The state within the accepted step, by dense output; the number next to a time."""

from ..slots import HS, TN, YN, N, T, W, Y, Z, dense, fabs, inline, piece


@piece
def state_at(A, l, th):
    # Z: the state at theta; the time there
    if th == 1.0:
        for i in range(N):
            A[Z + i*W + l] = A[YN + i*W + l]
        return A[TN + l]
    if th == 0.0:
        for i in range(N):
            A[Z + i*W + l] = A[Y + i*W + l]
        return A[T + l]
    dense(A, l, th)
    return A[T + l] + th*A[HS + l]


@inline
def beside(t, way):
    # a number next to t, upwards or downwards
    return t + way*max(2.220446049250313e-16*fabs(t), 5e-324)
