"""The elementary functions that formulas are bound to: torch against NumPy, tensors and scalars in every mixture."""

import itertools

import numpy as np
import pytest

from stepsmith.controllers.laws import registry
from stepsmith.integrators.core import record as R
from stepsmith.integrators.core.contract import N_OUT
from stepsmith.integrators.core.namespaces import NUMPY, SCALAR, torch_namespace

torch = pytest.importorskip("torch")
ONE = ("log", "exp", "fabs", "sqrt", "tanh", "atan", "sin", "cos")
TWO = ("minimum", "maximum")
VALUES = np.array([0.25, 1.0, 3.5])
SCALARS = (0.75, 2, np.float64(0.75), np.float32(0.75))
DTYPES = {"float32": 3e-7, "float64": 1e-15}


def test_the_three_namespaces_hold_the_same_names():
    assert set(torch_namespace()) == set(NUMPY) == set(SCALAR) == {"where", "pow_", *ONE, *TWO}


def check(got, expected, dtype):
    assert isinstance(got, torch.Tensor) and got.dtype == getattr(torch, dtype)
    np.testing.assert_allclose(got.numpy(), expected, rtol=DTYPES[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ONE)
def test_functions_of_one_argument(name, dtype):
    check(torch_namespace()[name](torch.tensor(VALUES, dtype=getattr(torch, dtype))), NUMPY[name](VALUES), dtype)
    for x in SCALARS:
        check(torch_namespace()[name](x), NUMPY[name](np.float64(x)), "float64")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", TWO)
def test_functions_of_two_arguments(name, dtype):
    f, x = torch_namespace()[name], torch.tensor(VALUES, dtype=getattr(torch, dtype))
    check(f(x, x.flip(0)), NUMPY[name](VALUES, VALUES[::-1]), dtype)
    for s in SCALARS:
        check(f(x, s), NUMPY[name](VALUES, s), dtype)
        check(f(s, x), NUMPY[name](s, VALUES), dtype)
        check(f(s, 1.0), NUMPY[name](s, 1.0), "float64")
    assert torch.isnan(f(x, float("nan"))).all()


def test_powers():
    x = torch.tensor(VALUES)
    for given, exponent in ((VALUES, -0.7), (VALUES, 2.0)):
        check(torch_namespace()["pow_"](x, exponent), given**exponent, "float64")
        np.testing.assert_allclose(NUMPY["pow_"](given, exponent), given**exponent, rtol=1e-15)
        np.testing.assert_allclose([SCALAR["pow_"](v, exponent) for v in given], given**exponent, rtol=1e-15)


@pytest.mark.parametrize("x", [0.0, -1.0, np.inf, -np.inf, np.nan, 800.0, -800.0])
@pytest.mark.parametrize("name", ONE)
def test_numbers_behave_as_arrays_at_the_edges(name, x):
    with np.errstate(all="ignore"):
        expected = NUMPY[name](np.array([x]))[0]
        np.testing.assert_allclose(SCALAR[name](np.float64(x)), expected, rtol=1e-15)
        np.testing.assert_allclose(torch_namespace()[name](x).numpy(), expected, rtol=1e-15)


@pytest.mark.parametrize("dtype", DTYPES)
def test_where(dtype):
    f, x = torch_namespace()["where"], torch.tensor(VALUES, dtype=getattr(torch, dtype))
    mask = VALUES > 0.5
    for s, c in itertools.product(SCALARS, (torch.tensor(mask), True, False, np.True_, np.False_)):
        condition = mask if isinstance(c, torch.Tensor) else bool(c)
        check(f(c, x, s), np.where(condition, VALUES, s), dtype)
        check(f(c, s, x), np.where(condition, s, VALUES), dtype)
        check(f(c, x, -x), np.where(condition, VALUES, -VALUES), dtype)
        check(f(c, s, -1.0), np.where(condition, s, -1.0), "float64")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["pi34", "h211b", "radau5"])
def test_a_law_with_scalar_parameters_on_tensors(name, dtype):
    """Parameters as a list of floats, lanes as tensors: the answers of the law on NumPy rows, attempt by attempt."""
    law, rng = registry.get(name), np.random.default_rng(0)
    kind = getattr(torch, dtype)
    fn = law.phases[0].bound(torch_namespace())
    state, out = np.zeros((law.n_state, 4)), np.zeros((N_OUT, 4))
    t_state, t_out = torch.zeros(law.n_state, 4, dtype=kind), torch.zeros(N_OUT, 4, dtype=kind)
    for _ in range(10):
        record = np.ones((R.N_RECORD, 4))
        record[R.ERR], record[R.H], record[R.ORDER] = (
            10.0 ** rng.uniform(-2, 0.5, 4),
            10.0 ** rng.uniform(-1, 0, 4),
            5.0,
        )
        record[R.TRUNCATED], record[R.NEWTON_ITERS], record[R.NEWTON_RATE] = 0.0, 2.0, 1e-4
        law.phases[0].fn(law.params, state, record, out)
        fn(law.params.tolist(), t_state, torch.tensor(record, dtype=kind), t_out)
        assert t_out.dtype == kind
        np.testing.assert_allclose(t_out.numpy(), out, rtol=100 * DTYPES[dtype], atol=100 * DTYPES[dtype])
