"""Dense output from the increments of the stages: (1 - th) y + th y1 + th (1 - th) sum_k z_k sum_q D_kq th^q."""

from ..slots import YN, N, W, Y, Z, inline
from .slots import D_STAGES, D_TERMS, ZS, D


@inline
def prepare_dense(A, l):
    return 0.0


@inline
def dense(A, l, th):
    for c in range(N):
        rest = 0.0
        for k in range(D_STAGES):
            w = 0.0
            for q in range(D_TERMS - 1, -1, -1):
                w = D[k][q] + th*w
            rest += w*A[ZS + (k*N + c)*W + l]
        A[Z + c*W + l] = ((1.0 - th)*A[Y + c*W + l] + th*A[YN + c*W + l]) + th*(1.0 - th)*rest
