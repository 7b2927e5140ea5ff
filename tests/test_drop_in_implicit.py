"""torchdiffeq's calls on our solver: implicit Runge-Kutta methods on a grid."""

from __future__ import annotations

import warnings
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from stepsmith.integrators.methods import trees
from stepsmith.integrators.neural.implicit import METHODS
from stepsmith.integrators.neural.implicit_rules import EXACT
from stepsmith.neural.torchdiffeq import SolveFailed, odeint, odeint_adjoint, odeint_event

F32, F64 = torch.float32, torch.float64
NAMES = sorted(EXACT)


class Surd:
    """p + q sqrt(d), exactly."""

    def __init__(self, p, q, d):
        self.p, self.q, self.d = Fraction(p), Fraction(q), d

    def __add__(self, other):
        return Surd(self.p + other.p, self.q + other.q, self.d)

    def __mul__(self, other):
        return Surd(self.p * other.p + self.d * self.q * other.q, self.p * other.q + self.q * other.p, self.d)

    def equals(self, number):
        # a root of zero has no part
        return self.p == number and (self.q == 0 or self.d == 0)


def exact(name):
    rule = EXACT[name]

    def of(pair):
        return Surd(*pair, rule.root)

    return rule, [of(x) for x in rule.c], [[of(x) for x in row] for row in rule.a], [of(x) for x in rule.b]


def phi(tree, a, one):
    """Butcher's elementary weights of every stage, for a square matrix."""
    rows = [one] * len(a)
    for child in tree:
        below = phi(child, a, one)
        inner = [sum((x * w for x, w in zip(row[1:], below[1:], strict=True)), row[0] * below[0]) for row in a]
        rows = [r * i for r, i in zip(rows, inner, strict=True)]
    return rows


@pytest.mark.parametrize("name", NAMES)
def test_the_order_conditions_hold_exactly(name):
    rule, c, a, b = exact(name)
    one = Surd(1, 0, rule.root)
    for node, row in zip(c, a, strict=True):
        total = sum(row[1:], row[0])
        assert (total + node * Surd(-1, 0, rule.root)).equals(0)
    wrong = []
    for order in range(1, rule.order + 2):
        for tree in trees.rooted_trees(order):
            weights = phi(tree, a, one)
            total = sum((x * w for x, w in zip(b[1:], weights[1:], strict=True)), b[0] * weights[0])
            if not total.equals(Fraction(1, trees.density(tree))):
                wrong.append(order)
    assert min(wrong) == rule.order + 1


@pytest.mark.parametrize("name", NAMES)
def test_the_numbers_are_rounded_once(name):
    mpmath = pytest.importorskip("mpmath")
    mpmath.mp.dps = 50
    rule, method = EXACT[name], METHODS[name]
    root = mpmath.sqrt(rule.root)
    for pairs, found in [(rule.c, method.nodes), (rule.b, method.weights), *zip(rule.a, method.rows, strict=True)]:
        for (p, q), x in zip(pairs, found, strict=True):
            assert x == float(mpmath.mpf(p.numerator) / p.denominator + root * q.numerator / q.denominator)


def field(t, y):
    return torch.stack([-y[0] * y[1] + torch.sin(3.0 * t), y[0] - y[1].pow(3) * (1.0 + t)])


@pytest.mark.parametrize("ends", [(0.0, 1.0), (1.0, 0.2)])
@pytest.mark.parametrize("name", NAMES)
def test_the_order_is_the_method_s_on_a_problem_that_depends_on_time(name, ends):
    t = torch.tensor(ends, dtype=F64)
    start = np.array([0.7, 0.4])

    def rhs(t, y):
        return field(torch.tensor(t, dtype=F64), torch.from_numpy(y)).numpy()

    reference = solve_ivp(rhs, ends, start, "DOP853", rtol=1e-13, atol=1e-14).y[:, -1]

    def error(steps):
        size = abs(ends[1] - ends[0]) / steps
        y = odeint(field, torch.from_numpy(start), t, method=name, options={"step_size": size})
        return float((y[-1] - torch.from_numpy(reference)).abs().max())

    steps = 4 if EXACT[name].order >= 5 else 32
    assert error(steps) / error(2 * steps) == pytest.approx(2.0 ** EXACT[name].order, rel=0.35)


def test_radau_s_step_is_scipy_s():
    """One step of SciPy's Radau, with Newton's tolerance far down, against one step here."""
    from scipy.integrate import Radau

    y0 = np.array([2.0, 0.0])

    def rhs(t, y):
        return np.array([y[1], 10.0 * (1.0 - y[0] ** 2) * y[1] - y[0]])

    solver = Radau(rhs, 0.0, y0, 1.0, first_step=0.01, rtol=1e-9, atol=1.0)
    solver.newton_tol = 1e-14
    solver.step()
    h = solver.t
    y = odeint(lambda t, y: torch.stack([y[1], 10.0 * (1.0 - y[0] ** 2) * y[1] - y[0]]), torch.from_numpy(y0),
               torch.tensor([0.0, h], dtype=F64), method="radauIIA5")  # fmt: skip
    np.testing.assert_allclose(y[-1].numpy(), solver.y, rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_a_linear_problem_is_the_stability_function(name):
    """y' = lambda y: y1 = R(z) y0 with R(z) = 1 + z b^T (I - z A)^-1 1."""
    method = METHODS[name]
    a, b = np.array(method.rows), np.array(method.weights)
    for z in (-0.5, -30.0, 0.3):
        r = 1.0 + z * b @ np.linalg.solve(np.eye(len(b)) - z * a, np.ones(len(b)))
        t = torch.tensor([0.0, 1.0], dtype=F64)
        y = odeint(lambda t, y, z=z: z * y, torch.tensor([1.0, 2.0], dtype=F64), t, method=name)
        np.testing.assert_allclose(y[-1].numpy(), r * np.array([1.0, 2.0]), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("name", ["implicit_euler", "radauIIA5", "sdirk2", "trbdf2"])
def test_a_stiff_problem_takes_large_steps(name, dtype):
    """Prothero and Robinson's: y' = -1e6 (y - cos t) - sin t, y = cos t."""
    t = torch.linspace(0.0, 2.0, 5, dtype=F64)
    y = odeint(lambda t, y: -1e6 * (y - t.cos()) - t.sin(), torch.ones(1, dtype=dtype), t, method=name,
               options={"step_size": 0.1})  # fmt: skip
    torch.testing.assert_close(y[:, 0], t.cos().to(dtype), rtol=0.0, atol=2e-3 if dtype == F64 else 1e-2)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).double()
        self.unused = torch.nn.Linear(1, 1).double()

    def forward(self, t, y):
        return self.net(y) * (1.0 + torch.sin(3.0 * t)) - 2.0 * y


OPTIONS = {
    "outputs": {},
    "step size": {"step_size": 0.35},
    "cubic": {"step_size": 0.35, "interp": "cubic"},
    "perturbed": {"step_size": 0.35, "perturb": True},
}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", NAMES)
def test_gradcheck_in_state_times_and_parameters(name, options):
    func = Net()
    weights = [p.detach().clone().requires_grad_() for p in func.net.parameters()]
    y0 = torch.tensor([0.5, -1.0], dtype=F64, requires_grad=True)
    t = torch.tensor([0.1, 0.65, 1.0], dtype=F64, requires_grad=True)

    def solve(y0, t, *weights):
        def slope(t, y):
            a, b, c, d = weights
            return (c @ torch.tanh(a @ y + b) + d) * (1.0 + torch.sin(3.0 * t)) - 2.0 * y

        return odeint(slope, y0, t, method=name, options=OPTIONS[options])

    assert torch.autograd.gradcheck(solve, (y0, t, *weights), fast_mode=True)


@pytest.mark.parametrize("name", NAMES)
def test_values_are_the_same_with_and_without_gradient(name):
    y0, t = torch.tensor([0.5, -1.0], dtype=F64, requires_grad=True), torch.linspace(0.0, 1.0, 3, dtype=F64)
    y = odeint(Net(), y0, t, method=name)
    with torch.no_grad():
        assert torch.equal(odeint(Net(), y0, t, method=name), y)


@pytest.mark.parametrize("name", NAMES)
def test_the_adjoint_steps_are_the_method_s_own(name):
    """A step of the adjoint system by its structure is the method's step of the whole system, found by Newton."""
    func, y0 = Net(), torch.tensor([0.5, -1.0], dtype=F64, requires_grad=True)
    params = tuple(func.net.parameters())
    t = torch.tensor([0.0, 0.4], dtype=F64)
    y = odeint_adjoint(func, y0, t, method=name)
    g = torch.tensor([1.0, -2.0], dtype=F64)
    ours = torch.autograd.grad(y[-1] @ g, (y0, *params))
    sizes = [2, 2, *(p.numel() for p in params)]

    def whole(t, z):
        y, a = z[:2], z[2:4]
        with torch.enable_grad():
            if not z.requires_grad:
                y = y.detach().requires_grad_()
            f = func(t, y)
            pulled = torch.autograd.grad(f, (y, *params), -a, create_graph=True)
        return torch.cat([f, *(p.reshape(-1) for p in pulled)])

    z = torch.cat([y[-1].detach(), g, torch.zeros(sum(sizes[2:]), dtype=F64)])
    with torch.no_grad():
        theirs = odeint(whole, z, t.flip(0), method=name)[-1].split(sizes)[1:]
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.reshape(-1), other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_the_adjoint_s_gradient_is_that_of_the_exact_solution(name):
    func, y0 = Net(), torch.tensor([0.5, -1.0], dtype=F64, requires_grad=True)
    t = torch.tensor([0.0, 1.0], dtype=F64, requires_grad=True)

    def gradient(solve, **given):
        return torch.autograd.grad(solve(func, y0, t, **given)[-1].square().sum(), (y0, t, *func.net.parameters()))

    true = gradient(odeint, method="dopri8", rtol=1e-12, atol=1e-13)
    tolerance = {1: 2e-2, 2: 1e-3, 3: 1e-5}.get(EXACT[name].order, 1e-7)
    for solve in (odeint, odeint_adjoint):
        for mine, other in zip(gradient(solve, method=name, options={"step_size": 0.02}), true, strict=True):
            torch.testing.assert_close(mine, other, rtol=tolerance, atol=tolerance)


def test_unused_parameters_get_zeros_and_callbacks_are_called():
    func, y0 = Net(), torch.tensor([0.5, -1.0], dtype=F64)
    seen, back = [], []
    func.callback_step = lambda t, y, dt: seen.append((float(t), float(dt), y.shape))
    func.callback_step_adjoint = lambda t, z, dt: back.append((float(t), float(dt), len(z)))
    t = torch.tensor([1.0, 0.0], dtype=F64)
    y = odeint_adjoint(func, y0, t, method="radauIIA3", options={"step_size": 0.25})
    y[-1].sum().backward()
    assert seen == [(x, 0.25, (2,)) for x in (1.0, 0.75, 0.5, 0.25)]
    assert back == [(x, 0.25, 2) for x in (0.0, 0.25, 0.5, 0.75)]
    assert not func.unused.weight.grad.any() and func.net[0].weight.grad.any()


@pytest.mark.parametrize("name", NAMES)
def test_states_of_parts_and_of_any_shape(name):
    t = torch.tensor([0.0, 0.3], dtype=F64)
    a, b = torch.tensor(0.5, dtype=F64), torch.tensor([[0.1, 0.2]], dtype=F64)
    ya, yb = odeint(lambda t, y: (-y[0] * y[1].sum(), y[0] - y[1]), (a, b), t, method=name)
    flat = odeint(lambda t, y: torch.stack([-y[0] * (y[1] + y[2]), y[0] - y[1], y[0] - y[2]]),
                  torch.cat([a[None], b[0]]), t, method=name)  # fmt: skip
    assert (ya.shape, yb.shape) == ((2,), (2, 1, 2))
    torch.testing.assert_close(torch.cat([ya[-1:], yb[-1, 0]]), flat[-1], rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_events(name):
    g = torch.tensor(9.81, dtype=F64, requires_grad=True)
    start = (torch.tensor(10.0, dtype=F64), torch.tensor(0.0, dtype=F64))
    t, (height, _) = odeint_event(lambda t, y: (y[1], -g), start, torch.zeros((), dtype=F64),
                                  event_fn=lambda t, y: y[0], method=name,
                                  options={"step_size": 0.02, "interp": "cubic"})  # fmt: skip
    fall = torch.sqrt(20.0 / g)
    tolerance = 0.02 if name == "implicit_euler" else 1e-9
    assert t.item() == pytest.approx(fall.item(), abs=tolerance) and abs(height[-1].item()) < tolerance * 20
    (mine,), (true,) = torch.autograd.grad(t, g), torch.autograd.grad(fall, g)
    assert mine.item() == pytest.approx(true.item(), abs=tolerance)


def test_a_step_that_has_no_solution_fails_with_the_reason():
    y0 = torch.tensor([1.0], dtype=F64)
    for name in ("implicit_euler", "gl4", "sdirk2"):
        # y = 1 + h y^2 has no real solution for h > 1/4
        with pytest.raises(SolveFailed, match=f"t = 0: the stages of '{name}'.*does not converge.*step_size"):
            odeint(lambda t, y: 4.0 * y * y, y0, torch.tensor([0.0, 1.0], dtype=F64), method=name)
    with pytest.raises(SolveFailed, match="not finite"):
        odeint(lambda t, y: torch.log(y - 2.0), y0, torch.tensor([0.0, 1.0], dtype=F64), method="implicit_midpoint")
    with pytest.raises(SolveFailed, match="singular"):
        odeint(lambda t, y: 2.0 * y + 1.0, y0, torch.tensor([0.0, 0.5], dtype=F64), method="implicit_euler")
    with pytest.raises(SolveFailed, match="1 iterations"):
        odeint(field, torch.ones(2, dtype=F64), torch.tensor([0.0, 1.0], dtype=F64), method="gl4",
               options={"max_iters": 1})  # fmt: skip


def test_a_field_without_a_graph_is_iterated_with_the_identity_or_fails():
    t, y0 = torch.tensor([0.0, 0.1], dtype=F64), torch.ones(1, dtype=F64)
    y = odeint(lambda t, y: -y.detach(), y0, t, method="implicit_euler")
    assert y[-1].item() == pytest.approx(1.0 / 1.1, rel=1e-14)
    with pytest.raises(SolveFailed, match="no derivative in y"):
        odeint(lambda t, y: -100.0 * y.detach(), y0, t, method="implicit_euler")


@pytest.mark.parametrize("solve", [odeint, odeint_adjoint])
def test_a_second_guess_finds_what_the_first_does_not(solve):
    """The slope at the start leads to where the logarithm has no value; the state itself leads to the solution."""
    y0 = torch.tensor([1.0], dtype=F64, requires_grad=True)
    given = {"adjoint_params": ()} if solve is odeint_adjoint else {}
    y = solve(lambda t, y: -10.0 * (1.0 + torch.log(y)), y0, torch.tensor([0.0, 0.5], dtype=F64),
              method="implicit_euler", **given)[-1]  # fmt: skip
    assert (y + 5.0 * torch.log(y)).item() == pytest.approx(-4.0, rel=1e-14)


def test_what_is_refused():
    y0, t = torch.ones(2, dtype=F64, requires_grad=True), torch.tensor([0.0, 0.1], dtype=F64)
    with pytest.raises(RuntimeError, match="no second derivatives"):
        torch.autograd.grad(odeint(field, y0, t, method="gl4").sum(), y0, create_graph=True)
    with pytest.raises(RuntimeError, match="torch.func cannot transform a solve by 'gl4'"):
        torch.func.jacrev(lambda y: odeint(field, y, t, method="gl4"))(y0.detach())
    with torch.inference_mode(), pytest.raises(RuntimeError, match="use torch.no_grad"):
        odeint(field, y0, t, method="gl4")
    with pytest.raises(ValueError, match="max_iters must be a whole number"):
        odeint(field, y0, t, method="gl4", options={"max_iters": 0})
    with pytest.warns(UserWarning, match="'gl4' does not use options..max_order"):
        odeint(field, y0, t, method="gl4", options={"max_order": 4})
    with pytest.warns(UserWarning, match="'euler' does not use options..max_iters"):
        odeint(field, y0, t, method="euler", options={"max_iters": 4})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        odeint(field, y0, t, method="gl4", options={"norm": torch.linalg.norm})
