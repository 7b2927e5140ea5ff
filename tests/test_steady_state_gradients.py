"""Gradients of steady states: closed forms, the limit of unrolled iterations, finite differences, and linear solves."""

import pytest
import torch
from torch.utils.checkpoint import checkpoint

import stepsmith as ss
from stepsmith.integrators.neural.krylov import fixed_point, gmres

F64 = torch.float64
steady_state = ss.neural.steady_state
WAYS = ["gmres", "fixed_point"]


def weights(d=6, size=0.4, seed=0):
    g = torch.Generator().manual_seed(seed)
    a = size * torch.randn(d, d, dtype=F64, generator=g) / d**0.5
    return a.requires_grad_(), torch.randn(5, d, dtype=F64, generator=g).requires_grad_()


@pytest.mark.parametrize("way", WAYS)
def test_a_linear_map_has_the_gradient_of_its_closed_form(way):
    a, b = weights()
    z = steady_state(
        lambda z, x: z @ a.T + x, torch.zeros(5, 6, dtype=F64), b, 1e-14, gradient=way, gradient_tol=1e-14
    ).z
    exact = torch.linalg.solve(torch.eye(6, dtype=F64) - a, b.T).T
    loss = torch.linspace(-1, 1, 30, dtype=F64).view(5, 6)
    for got, want in zip(
        torch.autograd.grad((z.square() * loss).sum(), (a, b)),
        torch.autograd.grad((exact.square() * loss).sum(), (a, b)),
        strict=True,
    ):
        assert (got - want).abs().max() < 1e-10 * want.abs().max()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("batch", [True, False])
def test_the_gradient_is_the_limit_of_unrolled_iterations(way, batch):
    a, x = weights(size=0.7)
    given = {"b": x if batch else x[0], "c": [torch.full((5,) if batch else (), 0.3, dtype=F64, requires_grad=True)]}
    net = torch.nn.Linear(6, 6).double()

    def func(z, x):
        return torch.tanh(z @ a.T + net(x["b"]) * torch.sin(x["c"][0])[..., None])

    def loss(z):
        return (z * torch.arange(1.0, 7.0, dtype=F64)).sin().sum()

    wanted = [a, x, given["c"][0], *net.parameters()]
    z0 = torch.zeros(5, 6, dtype=F64) if batch else torch.zeros(6, dtype=F64)
    out = steady_state(func, z0, given, 1e-11, gradient=way, gradient_tol=1e-11, gradient_max_iter=500)
    z = z0
    for _ in range(150):
        z = func(z, given)
    assert torch.allclose(out.z, z, atol=1e-9)
    got, want = torch.autograd.grad(loss(out.z), wanted), torch.autograd.grad(loss(z), wanted)
    for p, q in zip(got, want, strict=True):
        assert (p - q).abs().max() <= 1e-6 * max(1.0, float(q.abs().max()))
    assert out.stats.nfev_backward == out.stats.linear_iterations > 2 and (out.stats.linear_residual <= 1e-11).all()


@pytest.mark.parametrize("way", WAYS)
def test_finite_differences_agree(way):
    a, x = weights(3, 0.5)

    def solved(a, x, z0):
        return steady_state(
            lambda z, x: torch.tanh(z @ a.T + x), z0, x, 1e-13, gradient=way, gradient_tol=1e-12
        ).z

    z0 = torch.zeros(2, 3, dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(solved, (a, x[:2].detach().requires_grad_(), z0))
    assert not torch.autograd.grad(solved(a, x[:2], z0).sum(), z0)[0].any()


def test_gmres_takes_maps_that_do_not_contract_and_the_fixed_point_says_what_to_do():
    b = torch.ones(2, 3, dtype=F64, requires_grad=True)
    a = torch.diag(torch.tensor([-6.0, -2.0, 0.5], dtype=F64))
    z0 = torch.zeros(2, 3, dtype=F64)
    z = steady_state(lambda z, x: z @ a + x, z0, b, 1e-12, gradient_tol=1e-12).z
    (got,) = torch.autograd.grad(z.sum(), b)
    assert torch.allclose(got, (1 / (1 - a.diagonal())).expand(2, 3), atol=1e-9)
    for on_failure in ("raise", "warn", "mask"):
        z = steady_state(lambda z, x: z @ a + x, z0, b, 1e-9, gradient="fixed_point", on_failure=on_failure).z
        said = 'did not converge for 2 of 2 samples: .* does not contract in z .* diverges: use gradient="gmres"'
        if on_failure == "raise":
            with pytest.raises(RuntimeError, match=said):
                z.sum().backward()
        else:
            with pytest.warns(UserWarning, match=said):
                (got,) = torch.autograd.grad(z.sum(), b)
            assert (got == 0).all() if on_failure == "mask" else (got != 0).any()


def test_too_few_products_are_an_error_that_names_the_remedy():
    a, b = weights(20)
    z = steady_state(lambda z, x: z @ a.T + x, torch.zeros(5, 20, dtype=F64), b, gradient_max_iter=2).z
    with pytest.raises(RuntimeError, match="larger gradient_max_iter or gradient_tol"):
        z.sum().backward()


def test_second_derivatives_are_refused():
    a, b = weights()
    z = steady_state(lambda z, x: z @ a.T + x, torch.zeros(5, 6, dtype=F64), b).z
    with pytest.raises(RuntimeError, match="first derivatives only.*odeint"):
        torch.autograd.grad(z.sum(), a, create_graph=True)


def test_a_backward_pass_can_be_repeated_and_a_freed_graph_is_an_error():
    a, b = weights()
    out = steady_state(lambda z, x: torch.tanh(z @ a.T + x), torch.zeros(5, 6, dtype=F64), b)
    first = torch.autograd.grad(out.z.sum(), a, retain_graph=True)[0]
    once = out.stats.nfev_backward
    assert torch.equal(torch.autograd.grad(out.z.sum(), a)[0], first) and out.stats.nfev_backward == 2 * once
    with pytest.raises(RuntimeError, match="second time"):
        out.z.sum().backward()


def test_failed_samples_add_nothing_and_zero_gradients_cost_nothing():
    a, b = weights()
    x = b.detach().clone()
    x[1] = torch.inf
    x.requires_grad_()
    for on_failure in ("warn", "mask"):
        with pytest.warns(UserWarning, match="1 of 5"):
            out = steady_state(
                lambda z, x: torch.tanh(z @ a.T) + x, torch.zeros(5, 6, dtype=F64), x, 1e-9, on_failure=on_failure
            )
        got = torch.autograd.grad(out.z[out.mask].sum(), (a, x))
        keep = [0, 2, 3, 4]
        part = b.detach()[keep].requires_grad_()
        few = steady_state(lambda z, x: torch.tanh(z @ a.T) + x, torch.zeros(4, 6, dtype=F64), part, 1e-9)
        want = torch.autograd.grad(few.z.sum(), (a, part))
        assert torch.allclose(got[0], want[0], rtol=1e-7) and torch.allclose(got[1][keep], want[1], rtol=1e-7)
        assert (got[1][1] == 0).all()
    few = steady_state(lambda z, x: torch.tanh(z @ a.T) + x, torch.zeros(4, 6, dtype=F64), part, 1e-9)
    (few.z * 0.0).sum().backward()
    assert few.stats.nfev_backward == 0 and few.stats.linear_residual.tolist() == [0.0] * 4


def test_an_overflowed_loss_gives_nan_as_autograd_does_and_leaves_the_other_samples():
    a, b = weights()
    z = steady_state(lambda z, x: z @ a.T + x, torch.zeros(5, 6, dtype=F64), b).z
    scale = torch.tensor([1.0, torch.inf, 1.0, 1.0, 1.0], dtype=F64)[:, None]
    (got,) = torch.autograd.grad((z * scale).sum(), b)
    assert got[1].isnan().all() and got[[0, 2, 3, 4]].isfinite().all()


def test_a_map_that_ignores_z_and_one_that_is_detached():
    b = torch.ones(3, 2, requires_grad=True)
    z = steady_state(lambda z, x: x.square(), torch.zeros(3, 2), b, 1e-6).z
    assert torch.allclose(torch.autograd.grad(z.sum(), b)[0], torch.full((3, 2), 2.0))
    assert not steady_state(lambda z, x: x.detach(), torch.zeros(3, 2), b).z.requires_grad
    assert not steady_state(lambda z, x: torch.tanh(z) * 0.5 + x, torch.zeros(3, 2), b.detach()).z.requires_grad


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("reentrant", [True, False])
def test_parameters_within_a_checkpoint_are_found(reentrant):
    torch.manual_seed(0)
    net, x = torch.nn.Linear(4, 4).double(), torch.randn(3, 4, dtype=F64)
    grads = []
    for wrapped in (True, False):

        def func(z, x, wrapped=wrapped):
            inner = lambda y: torch.tanh(0.5 * net(y))  # noqa: E731
            return x + (checkpoint(inner, z, use_reentrant=reentrant) if wrapped else inner(z))

        net.zero_grad()
        out = steady_state(func, torch.zeros(3, 4, dtype=F64), x, 1e-10, gradient_tol=1e-12)
        if reentrant and wrapped:
            with pytest.raises(RuntimeError, match="reentrant"):
                out.z.sum().backward()
            return
        out.z.sum().backward()
        grads.append(net.weight.grad.clone())
    assert torch.allclose(*grads, rtol=1e-9)


def test_half_precision_of_autocast_stays_within_func():
    torch.manual_seed(0)
    net = torch.nn.Linear(8, 8)
    x = torch.randn(4, 8, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        z = steady_state(lambda z, x: torch.tanh(0.5 * net(z) + x), torch.zeros(4, 8), x, 2e-2).z
        assert z.dtype == torch.float32
        z.sum().backward()
    full = x.detach().requires_grad_()
    steady_state(lambda z, x: torch.tanh(0.5 * net(z) + x), torch.zeros(4, 8), full, 1e-6).z.sum().backward()
    assert torch.allclose(x.grad, full.grad, atol=0.05)


@pytest.mark.parametrize("restart", [3, 30])
def test_gmres_solves_each_row_on_its_own_in_as_many_products_as_it_needs(restart):
    g = torch.Generator().manual_seed(3)
    rows, width = 7, 12
    size = torch.linspace(0, 0.8, rows, dtype=F64)[:, None, None]
    a = size * torch.randn(rows, width, width, dtype=F64, generator=g) / width**0.5
    right = torch.randn(rows, width, dtype=F64, generator=g) * 10.0 ** torch.arange(-3.0, 4.0, dtype=F64)[:, None]
    right[3] = 0.0
    calls = []

    def product(w):
        calls.append(1)
        return torch.einsum("bij,bj->bi", a, w)

    found = gmres(product, right, 1e-12, 400, restart)
    want = torch.linalg.solve(torch.eye(width, dtype=F64) - a, right)
    size = torch.linalg.vector_norm(want, dim=1).clamp(min=1e-300)
    assert found.done.all() and (torch.linalg.vector_norm(found.w - want, dim=1) / size).max() < 1e-10
    assert len(calls) == found.products and (restart < width or found.products <= width + 1)
    again = fixed_point(product, right, 1e-12, 2000)
    assert again.done.all() and torch.allclose(again.w, want, rtol=1e-9, atol=1e-12)


def test_a_singular_system_is_not_called_solved():
    a = torch.diag(torch.tensor([1.0, 0.5], dtype=F64))
    found = gmres(lambda w: w @ a, torch.tensor([[1.0, 1.0], [0.0, 1.0]], dtype=F64), 1e-8, 50)
    assert found.done.tolist() == [False, True] and found.w[1].tolist() == pytest.approx([0.0, 2.0])
    assert not fixed_point(lambda w: w @ a, torch.ones(1, 2, dtype=F64), 1e-8, 50).done.any()


def test_nearly_singular_systems_are_solved_to_what_the_dtype_resolves_and_singular_ones_are_not():
    a = torch.diag(torch.tensor([0.999, 0.5, -3.0, 0.2]))
    a[0, 1:] = torch.tensor([2.0, -1.0, 0.5])
    g = torch.tensor([[1.0, 0.3, -0.2, 0.1]])
    found = gmres(lambda w: w @ a.T, g, 1e-5, 100)
    want = torch.linalg.solve(torch.eye(4, dtype=F64) - a.double(), g[0].double())
    assert found.done.all() and torch.allclose(found.w[0].double(), want, rtol=1e-3)
    a[0, 0] = 1.0
    assert not gmres(lambda w: w @ a.T, g, 1e-5, 100).done.any()
