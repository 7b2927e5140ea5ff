"""Steady states z = f(z, x): where they are, how the search ends, and what is refused."""

import threading

import numpy as np
import pytest
import torch
from scipy.optimize import root

import stepsmith as ss

F64 = torch.float64
steady_state = ss.neural.steady_state


def linear(d=6, size=0.5, seed=0):
    g = torch.Generator().manual_seed(seed)
    return size * torch.randn(d, d, dtype=F64, generator=g) / d**0.5, torch.randn(5, d, dtype=F64, generator=g)


A, B0 = linear()


def tanh(z, x):
    return torch.tanh(z @ A.T + x)


@pytest.mark.parametrize("method", ["tsit5", "dopri5", "bs32", "dop853"])
def test_a_linear_map_settles_at_its_closed_form(method):
    out = steady_state(lambda z, x: z @ A.T + x, torch.zeros(5, 6, dtype=F64), B0, 1e-12, method=method)
    exact = torch.linalg.solve(torch.eye(6, dtype=F64) - A, B0.T).T
    assert torch.allclose(out.z, exact, rtol=0, atol=2e-11)
    assert out.success and out.mask.all() and (out.status == 1).all() and out.message.startswith("steady")
    assert torch.equal(out.z_last, out.z)


@pytest.mark.parametrize("tol", [1e-2, 1e-5, 1e-11])
def test_a_contraction_settles_where_a_root_finder_does_within_its_tolerance(tol):
    out = steady_state(tanh, torch.zeros(5, 6, dtype=F64), B0, tol)
    for z, b, left in zip(out.z.numpy(), B0.numpy(), out.residual, strict=True):
        found = root(lambda y, b=b: np.tanh(A.numpy() @ y + b) - y, np.zeros(6), tol=1e-13).x
        slope = np.abs(np.tanh(A.numpy() @ z + b) - z).max()
        assert slope == pytest.approx(left, rel=1e-6, abs=1e-14) and slope <= tol * (1 + np.abs(z).max()) * (1 + 1e-9)
        assert np.abs(z - found).max() < 10 * tol


def test_rtol_and_atol_are_told_apart_and_the_norm_is_the_largest_component():
    z = torch.full((2, 3), 1e4, dtype=F64)
    z[1] = 1e-4

    def near(z_):
        return z_ + torch.tensor([0.0, 0.0, 0.5], dtype=F64)

    with pytest.warns(UserWarning, match="1 of 2 samples found no steady state, number 1"):
        relative = steady_state(near, z, rtol=1e-3, atol=0.0, max_steps=3, on_failure="mask")
    assert relative.status.tolist() == [1, -1] and relative.residual[0] == pytest.approx(0.5)
    assert torch.equal(relative.z[0], z[0]) and relative.stats.naccept_per_sample.tolist() == [0, 3]
    absolute = steady_state(near, z, rtol=0.0, atol=0.6)
    assert absolute.success and absolute.stats.naccept == 0 and absolute.stats.nfev_per_sample.tolist() == [1, 1]
    assert absolute.stats.nfev - absolute.stats.nfev_check == 1


def test_fast_and_slow_directions_and_a_rotation_settle():
    """Steps that are held by stability: plain error tolerances as loose as these let them grow until they blow up."""
    fast = torch.diag(torch.tensor([-30.0, -3.0, 0.5], dtype=F64))
    turn = torch.tensor([[0.0, 8.0, 0.0], [-8.0, 0.0, 0.0], [0.0, 0.0, 0.5]], dtype=F64)
    for matrix in (fast, turn):
        x = torch.ones(2, 3, dtype=F64)
        out = steady_state(lambda z, x, m=matrix: z @ m.T + x, torch.zeros(2, 3, dtype=F64), x, 1e-9)
        exact = torch.linalg.solve(torch.eye(3, dtype=F64) - matrix, x.T).T
        assert torch.allclose(out.z, exact, atol=1e-7) and out.stats.nfev < 2500


def test_the_work_grows_with_the_digits_wanted_and_not_with_their_powers():
    nfev = [steady_state(tanh, torch.zeros(5, 6, dtype=F64), B0, tol).stats.nfev for tol in (1e-3, 1e-6, 1e-12)]
    assert nfev[1] < 2 * nfev[0] and nfev[2] < 2 * nfev[1]


def test_one_system_float32_and_no_input():
    one = steady_state(lambda z: torch.cos(z), torch.zeros(1), tol=1e-6)
    assert one.z.shape == (1,) and one.z.dtype == torch.float32
    assert one.z.item() == pytest.approx(0.7390851332, abs=1e-5)  # the Dottie number
    assert one.mask.shape == one.status.shape == one.residual.shape == (1,)
    x = {"a": B0[0].float(), "b": torch.ones(())}
    many = steady_state(lambda z, x: torch.tanh(z @ A.T.float() + x["a"] * x["b"]), torch.zeros(6), x, 1e-5)
    assert torch.allclose(many.z.double(), steady_state(tanh, torch.zeros(5, 6, dtype=F64), B0, 1e-9).z[0], atol=1e-4)


def test_samples_that_arrive_stop_moving_and_with_compact_leave_the_batch():
    slow = torch.tensor([0.0, 0.0, 0.0, 0.0, 0.99], dtype=F64)[:, None]
    rows = []

    def func(z, x):
        rows.append(len(z))
        return x[0] * z + x[1]["b"]

    x = (slow, {"b": torch.ones(5, 1, dtype=F64)})
    z0 = torch.ones(5, 1, dtype=F64)
    plain = steady_state(func, z0, x, 1e-6)
    assert set(rows) == {5} and plain.stats.naccept_per_sample[:4].tolist() == [0] * 4
    rows.clear()
    compact = steady_state(func, z0, x, 1e-6, compact=True)
    assert set(rows) == {1, 5} and rows.count(1) > 5 * rows.count(5)
    assert torch.allclose(compact.z, plain.z, rtol=1e-14, atol=0) and compact.success
    assert (plain.stats.naccept_per_sample == compact.stats.naccept_per_sample).all()


FAILING = {
    "grows": (lambda z, x: 2.0 * z + x, 1000, -5, "grew"),
    "turns without rest": (
        lambda z, x: z + torch.stack([z[:, 1], -z[:, 0]], 1) * 3.0 + x * z * (1 - z.square().sum(1, True)),
        60, -1, "max_st",
    ),
    "is not finite somewhere": (
        lambda z, x: torch.log(1.0 - z.sum(1, True)) * 0 + z + x, 1000, -3, "non-fin"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAILING)
def test_a_map_without_a_steady_state_is_told_by_its_status(name):
    func, most, status, said = FAILING[name]
    x = torch.tensor([[1.0], [1.5]], dtype=F64)
    z0 = torch.full((2, 2), 0.1, dtype=F64)
    with pytest.raises(RuntimeError, match=rf"(?s)2 of 2 samples found no steady state, numbers 0, 1 \(2: .*{said}"):
        steady_state(func, z0, x, max_steps=most)
    with pytest.warns(UserWarning, match="its z is NaN"):
        out = steady_state(func, z0, x, max_steps=most, on_failure="warn")
    assert out.status.tolist() == [status] * 2 and not out.success and out.z.isnan().all()
    assert out.z_last.isfinite().all() and not out.mask.any() and "2 of 2 samples failed" in out.message


def test_a_start_that_is_not_finite_fails_alone():
    x = B0.clone()
    x[1, 2], x[3, 0] = torch.nan, torch.inf
    z0 = torch.full((5, 6), 0.25, dtype=F64)
    z0[4, 4] = torch.nan
    with pytest.warns(UserWarning, match="3 of 5 samples found no steady state, numbers 1, 3, 4"):
        out = steady_state(lambda z, x: z @ A.T + x, z0, x, 1e-9, on_failure="mask")
    assert out.status.tolist() == [1, -4, 1, -4, -4] and out.mask.tolist() == [True, False, True, False, False]
    exact = torch.linalg.solve(torch.eye(6, dtype=F64) - A, B0.T).T
    assert torch.allclose(out.z[[0, 2]], exact[[0, 2]], atol=1e-8)
    assert torch.equal(out.z[1], z0[1]) and out.z[4, 4] == 0 and np.isnan(out.residual[[1, 3, 4]]).all()


@pytest.mark.parametrize("controller", ["i", "torchdiffeq", "universal_law", "universal"])
def test_any_controller_leads_there(controller):
    out = steady_state(tanh, torch.zeros(5, 6, dtype=F64), B0, 1e-9, controller=controller)
    assert torch.allclose(out.z, steady_state(tanh, torch.zeros(5, 6, dtype=F64), B0, 1e-9).z, atol=1e-7)


def test_step_errors_may_be_relative_alone_and_inference_mode_is_taken():
    plain = steady_state(tanh, torch.zeros(5, 6, dtype=F64), B0, 1e-9)
    relative = steady_state(tanh, torch.zeros(5, 6, dtype=F64), B0, 1e-9, solver_atol=0.0)
    with torch.inference_mode():
        inside = steady_state(tanh, torch.zeros(5, 6, dtype=F64), B0.clone(), 1e-9, compact=True)
    for out in (relative, inside):
        assert out.success and torch.allclose(out.z, plain.z, atol=1e-7)


def test_where_all_samples_fail_z_is_a_constant():
    z0 = torch.full((2, 2), 0.1, dtype=F64, requires_grad=True)
    with pytest.warns(UserWarning, match="2 of 2"):
        out = steady_state(lambda z: 2.0 * z, z0, on_failure="mask")
    assert torch.equal(out.z, z0) and not out.z.requires_grad and out.stats.nfev_graph == 0


def test_no_grad_makes_no_graph_and_no_further_call():
    x = B0.clone().requires_grad_()
    with torch.no_grad():
        out = steady_state(tanh, torch.zeros(5, 6, dtype=F64), x)
    assert not out.z.requires_grad and out.stats.nfev_graph == 0
    again = steady_state(tanh, torch.zeros(5, 6, dtype=F64), x)
    assert again.z.requires_grad and again.stats.nfev_graph == 1 and torch.equal(again.z, out.z)
    assert again.stats.linear_iterations is None and again.stats.nfev_backward == 0


Z0 = torch.zeros(5, 6, dtype=F64)
REFUSED = {
    "z0 must be a tensor": lambda: steady_state(tanh, [0.0], B0),
    "z0 must be float32 or float64": lambda: steady_state(tanh, Z0.int(), B0),
    "z0 is empty": lambda: steady_state(tanh, Z0[:0], B0),
    "z0 must have a batch axis": lambda: steady_state(tanh, Z0[0, 0], B0),
    "z0 is torch.complex128": lambda: steady_state(tanh, Z0 + 0j, B0),
    "func must be callable as func.z, x., got int": lambda: steady_state(3, Z0, B0),
    "called as func.z, x. here, since x was given": lambda: steady_state(lambda z: z, Z0, B0),
    "called as func.z. here, since no x": lambda: steady_state(tanh, Z0),
    "x must be a tensor or a tuple": lambda: steady_state(tanh, Z0, (B0, 3)),
    "x holds no tensor": lambda: steady_state(tanh, Z0, {}),
    "x must have the 5 samples": lambda: steady_state(tanh, Z0, B0[:3]),
    "tensor like z, got tuple": lambda: steady_state(lambda z, x: (z,), Z0, B0),
    r"tensor like z, of shape \(5, 6\)": lambda: steady_state(lambda z, x: z[:, :1], Z0, B0),
    "tensor like z, .*float32": lambda: steady_state(lambda z, x: z.float(), Z0, B0),
    "modifies z or x in place": lambda: steady_state(lambda z, x: z.mul_(0.5), Z0 + 1, B0),
    "modifies z or x": lambda: steady_state(lambda z, x: x.add_(1.0) * 0 + z, Z0, B0.clone()),
    "modifies z": lambda: steady_state(lambda z, x: z.data.add_(1.0), Z0, B0),
    "changes with the other samples": lambda: steady_state(lambda z, x: 0.5 * (z + x) - (z + x).mean(0), Z0, B0),
    "z0 is torch.float64.*parameter 'weight' is torch.float32": lambda: steady_state(torch.nn.Linear(6, 6), Z0),
    "tol must be": lambda: steady_state(tanh, Z0, B0, -1.0),
    "rtol must be": lambda: steady_state(tanh, Z0, B0, rtol="x"),
    "atol must be": lambda: steady_state(tanh, Z0, B0, atol=float("nan")),
    "rtol and atol must not be both zero": lambda: steady_state(tanh, Z0, B0, 0.0),
    "solver_rtol and solver_atol": lambda: steady_state(tanh, Z0, B0, solver_rtol=0.0, solver_atol=0.0),
    "max_steps must be": lambda: steady_state(tanh, Z0, B0, max_steps=0),
    "first_step must be": lambda: steady_state(tanh, Z0, B0, first_step=0.0),
    "compact must be": lambda: steady_state(tanh, Z0, B0, compact=1),
    "takes the steps of a grid": lambda: steady_state(tanh, Z0, B0, method="rk4"),
    "does not end a step with the slope": lambda: steady_state(tanh, Z0, B0, method="fehlberg2"),
    "gradient.*did you mean 'gmres'": lambda: steady_state(tanh, Z0, B0, gradient="gmre"),
    "gradient_tol must be": lambda: steady_state(tanh, Z0, B0, gradient_tol=0.0),
    "gradient_max_iter must be": lambda: steady_state(tanh, Z0, B0, gradient_max_iter=0.5),
    "on_failure": lambda: steady_state(tanh, Z0, B0, on_failure="skip"),
    "did you mean 'max_steps'": lambda: steady_state(tanh, Z0, B0, max_step=3),
    "pi34": lambda: steady_state(tanh, Z0, B0, controller="pi43"),
}


@pytest.mark.parametrize("said", REFUSED)
def test_bad_input_gets_one_clear_error(said):
    with pytest.raises((ValueError, TypeError), match=said):
        REFUSED[said]()


def test_noise_and_torch_func_are_told():
    with pytest.warns(UserWarning, match="draws random numbers"):
        steady_state(lambda z: 1e-5 * torch.randn_like(z), torch.ones(2), tol=1e-3)
    with pytest.raises(RuntimeError, match="torch.func cannot transform"):
        torch.func.vmap(lambda z: steady_state(torch.cos, z).z)(torch.zeros(3, 1))


def test_what_a_dtype_does_not_resolve_is_said():
    with pytest.raises(RuntimeError, match="float64 .torch.float32 does not resolve this rtol"):
        steady_state(lambda z: torch.cos(z) * 100 + z, torch.full((1,), 1.0), rtol=1e-9, atol=0.0, max_steps=50)


def test_solves_in_threads_do_not_meet():
    found: dict[int, torch.Tensor] = {}

    def solve(i):
        x = (B0 * (i + 1) / 4).requires_grad_()
        z = steady_state(tanh, Z0, x, 1e-10).z
        z.sum().backward()
        found[i] = torch.cat([z.detach(), x.grad])

    threads = [threading.Thread(target=solve, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    together = dict(found)
    for i in range(4):
        solve(i)
        assert torch.equal(found[i], together[i])
