"""Faults of a caller's function: it writes its arguments, indexes beyond them, leaves out a component, or is no
function of the right kind.

Every host refuses it in one sentence that names what is wrong; none integrates it.
"""

from __future__ import annotations

import numpy as np
import pytest

from fault_hosts import COMPILED, TORCH, run


def writes_state(t, y, p, dy):
    y[0] = 0.5
    dy[0] = -y[0]
    dy[1] = 0.0


def writes_parameter(t, y, p, dy):
    p[0] = 2.0
    dy[0] = -y[0]
    dy[1] = 0.0


def beyond_the_slope(t, y, p, dy):
    for i in range(4):
        dy[i] = 1.0


def beyond_the_state(t, y, p, dy):
    dy[0] = y[2]
    dy[1] = 0.0


def beyond_the_parameters(t, y, p, dy):
    dy[0] = p[1]
    dy[1] = 0.0


def leaves_one_out(t, y, p, dy):
    dy[0] = -y[0]


def generator(t, y, p, dy):
    dy[0] = -y[0]
    dy[1] = 0.0
    yield


async def coroutine(t, y, p, dy):
    dy[0] = -y[0]
    dy[1] = 0.0


def returns_its_slope(t, y, p, dy):
    return -y[0]


@pytest.mark.parametrize("host", COMPILED)
@pytest.mark.parametrize(
    "rhs, says",
    [
        (writes_state, "writes.*y"),
        (writes_parameter, "writes.*p"),
        (beyond_the_slope, "index 2"),
        (beyond_the_state, "index 2"),
        (beyond_the_parameters, "index 1"),
        (leaves_one_out, r"dy\[1\]"),
        (generator, "generator"),
        (coroutine, "coroutine|async"),
        (returns_its_slope, r"returns|dy\[0\]"),
    ],
)
def test_a_right_hand_side_is_refused(host, rhs, says):
    with pytest.raises(ValueError, match=says) as found:
        run(host, rhs, [1.0, 2.0], p=[1.0])
    assert rhs.__name__ in str(found.value)


if TORCH:
    import torch

    def in_place(t, y, p):
        return y.mul_(-1.0)

    def other_shape(t, y, p):
        return -y[:, :1]

    def other_dtype(t, y, p):
        return (-y).float()

    def no_tensor(t, y, p):
        return np.zeros(y.shape)

    def other_rows(t, y, p):
        return -y * (1.0 + y.mean(0, keepdim=True) ** 2)

    @pytest.mark.parametrize("host", TORCH)
    @pytest.mark.parametrize(
        "func, says",
        [
            (in_place, "in place|modif"),
            (other_shape, "shape"),
            (other_dtype, "float32"),
            (no_tensor, "tensor"),
            (other_rows, "rows|row"),
        ],
    )
    def test_a_torch_func_is_refused(host, func, says):
        if func is other_rows and host == "torch batch":
            # one system: its rows may depend on each other
            assert run(
                host, None, [1.0, 2.0], func=func, p=[1.0]
            ).success
            return
        if func is other_rows:

            def func(t, y, p):  # rows that differ
                return -y * (
                    1.0 + (y * torch.arange(1.0, 1.0 + len(y), dtype=y.dtype)[:, None]).mean(0, keepdim=True) ** 2
                )

        with pytest.raises(ValueError, match=says):
            run(host, None, [1.0, 2.0], func=func, p=[1.0])
