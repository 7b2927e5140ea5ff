"""`monitor` in use: forms of states, modules, batches, modes, threads, what is refused, and that it leaves no trace."""

import gc
import threading

import numpy as np
import pytest
import torch
from scipy.linalg import expm

import stepsmith as ss
from stepsmith.integrators.neural.spectrum import probes

F64 = torch.float64
monitor, log_growth, NeuralODE = ss.neural.monitor, ss.neural.log_growth, ss.neural.NeuralODE
A = np.array([[0.3, 2.0], [-1.5, 0.1]])
AT = torch.tensor(A.T)
T = [0.0, 1.5]


def field(t, y):
    return y @ AT.to(y)


def states(n=4, d=2, dtype=F64):
    return torch.randn(n, d, dtype=F64, generator=torch.Generator().manual_seed(1)).to(dtype)


def exact(lanes, width=2, span=1.5):
    """The exponents of the linear field, by SciPy's matrix exponential, for the monitor's own probe."""
    w = probes(None, (1, lanes, width), states()).numpy()[0]
    return np.log(np.linalg.norm(w.reshape(lanes, -1, 2) @ expm(A * span), axis=(1, 2))) / span


class Net(torch.nn.Module):
    def __init__(self, d=2):
        super().__init__()
        torch.manual_seed(0)
        self.inner = torch.nn.Sequential(torch.nn.Linear(d, 8), torch.nn.Tanh(), torch.nn.Linear(8, d)).double()
        self.modes = set()

    def forward(self, t, y):
        self.modes.add(self.training)
        return self.inner(y)


# -- forms of states --------------------------------------------------------------------------------------------------


def test_one_system_has_one_number():
    seen = monitor(field, states()[0], T, times=3)
    assert seen.exponent == pytest.approx(exact(1), abs=1e-5) and seen.radius.shape == (3, 1) and seen.ok.shape == (1,)
    zero = monitor(lambda t, y: 0.5 * y, torch.tensor(1.0, dtype=F64), T)
    assert zero.exponent == pytest.approx([0.5], abs=1e-6) and zero.radius == pytest.approx(0.5)


def test_samples_of_any_features_are_flattened():
    seen = monitor(field, states(12).reshape(4, 3, 2), T)
    assert seen.exponent == pytest.approx(exact(4, 6), abs=1e-5)


def test_a_collection_is_a_batch_or_with_per_sample_false_one_system():
    y0 = states(4, 3)

    def split(t, state):
        slope = field(t, torch.cat([state["a"], state["b"][..., None]], -1))
        return {"b": slope[..., 1], "a": slope[..., :1]}

    batch = monitor(split, {"a": y0[:, :1], "b": y0[:, 1]}, T)
    assert batch.exponent == pytest.approx(exact(4), abs=1e-5) and batch.radius.shape == (8, 4)
    one = monitor(split, {"a": y0[0, :1], "b": y0[0, 1]}, T, per_sample=False)
    assert one.exponent == pytest.approx(exact(1), abs=1e-5) and one.stiffness.shape == (1,)
    module = monitor(NeuralODE(split, rtol=1e-8), {"a": y0[:, :1], "b": y0[:, 1]}, T)
    assert module.exponent == pytest.approx(exact(4), abs=1e-5)
    with pytest.raises(ValueError, match="batch axis B first"):
        monitor(split, {"a": y0[0, :1], "b": y0[0, 1]}, T)


def test_every_sample_is_what_it_is_alone():
    rates = torch.tensor([[0.5], [-2.0], [3.0]], dtype=F64)

    def own(t, y):
        return torch.sin(y) * (1.0 + y)

    y0 = rates.clone()
    whole = monitor(own, y0, T, rtol=1e-8, iterations=1)
    for i in range(3):
        alone = monitor(own, y0[i : i + 1], T, rtol=1e-8, iterations=1)  # one component: any probe is +-1
        assert alone.exponent == pytest.approx(whole.exponent[i : i + 1], abs=1e-10)
        assert alone.radius[:, 0] == pytest.approx(whole.radius[:, i], rel=1e-10)


def test_times_of_samples_may_have_spans_and_directions_of_their_own():
    t = torch.tensor([[0.0, 0.0, 1.0, 0.0], [1.5, 0.5, 0.0, 1.0]], dtype=F64)
    seen = monitor(field, states(), t, rtol=1e-8)
    w = probes(None, (1, 4, 2), states()).numpy()[0]
    spans = (t[1] - t[0]).numpy()
    want = [np.log(np.linalg.norm(x @ expm(A * h))) / abs(h) for x, h in zip(w, spans, strict=True)]
    assert seen.exponent == pytest.approx(want, abs=1e-6) and seen.span == pytest.approx(abs(spans))
    assert seen.times.shape == (8, 4)


@pytest.mark.parametrize("method", ["bs32", "dopri5", "dop853", "rk4"])
def test_other_methods(method):
    more = {"step_size": 0.01} if method == "rk4" else {"rtol": 1e-7}
    seen = monitor(field, states(), T, method=method, **more)
    assert seen.exponent == pytest.approx(exact(4), abs=1e-5)


@pytest.mark.parametrize("back", [False, True])
def test_times_are_the_grid_of_a_method_without_a_step_size(back):
    t = torch.linspace(0.0, 1.5, 40, dtype=F64)
    seen = monitor(field, states(), t.flip(0) if back else t, method="rk4", times=4)
    assert seen.exponent == pytest.approx(exact(4, span=-1.5) * -1.0 if back else exact(4), abs=1e-4)
    assert seen.nfev_plain == 4 * 39  # the nodes of the intervals are times of the grid here
    module = monitor(NeuralODE(field, "rk4"), states(), t, times=4)
    assert module.exponent == pytest.approx(exact(4), abs=1e-4) and module.stiffness is None


def test_float32_has_its_own_limit():
    seen = monitor(field, states(dtype=torch.float32), T, rtol=1e-5)
    assert seen.exponent == pytest.approx(exact(4), abs=1e-3) and seen.exponent.dtype == np.float64
    assert seen.limit == pytest.approx(-np.log(np.finfo(np.float32).eps) / 2) and seen.dtype == torch.float32


# -- modules ----------------------------------------------------------------------------------------------------------


def test_a_module_brings_its_solver_and_its_steps():
    net, y0 = Net(), states()
    seen = monitor(NeuralODE(net, "dopri5", rtol=1e-4, atol=1e-5, first_step=0.2), y0, T)
    same = monitor(net, y0, T, method="dopri5", rtol=1e-4, atol=1e-5)
    sol = NeuralODE(net, "dopri5", rtol=1e-4, atol=1e-5, first_step=0.2)(y0, torch.tensor(T)).solution
    assert seen.nfev_plain == sol.stats.nfev and seen.exponent == pytest.approx(same.exponent, abs=1e-4)
    # one step size for the batch, whose stiffness is every sample's
    assert len(set(seen.stiffness)) == 1 and len(set(same.stiffness)) == 4
    steps = monitor(NeuralODE(net, rtol=1e-4, per_sample=None, compact=True), y0, T)
    assert len(set(steps.stiffness)) == 4
    assert monitor(NeuralODE(net, per_sample=None, compact=True), y0, T, per_sample=False).exponent.shape == (1,)


def test_a_field_that_jumps_at_the_end_of_an_interval_is_followed():
    def switched(t, y):
        return torch.where(t < 0.75, 2.0, -1.0) * y

    seen = monitor(NeuralODE(switched, jump_t=[0.75], rtol=1e-8), states(4, 1), T, times=3)
    assert seen.exponent == pytest.approx((2.0 - 1.0) * 0.75 / 1.5, abs=1e-6)


def test_a_module_is_refused_solver_options_and_events():
    ode = NeuralODE(Net())
    with pytest.raises(ValueError, match="a NeuralODE brings its own solver, and method, rtol was given too"):
        monitor(ode, states(), T, method="dopri5", rtol=1e-3)
    with pytest.raises(ValueError, match="ends at events: pass ode.func"):
        monitor(NeuralODE(Net(), event_fn=lambda t, y: y[:, 0]), states(), T)


@pytest.mark.parametrize("training", [True, False])
def test_no_trace_is_left(training):
    net = Net().train(training)
    net.register_buffer("seen", torch.zeros(()))

    def count(module, args):
        module.seen += 1.0

    net.register_forward_pre_hook(count)
    kept = torch.full((8, 2), 3.0, dtype=F64)
    net.inner[0].weight.grad = kept
    y0 = states().requires_grad_()
    random = torch.get_rng_state()
    seen = monitor(NeuralODE(net).train(training), y0, T, vectors=2)
    assert seen.ok.all() and net.modes == {training} and net.training is training
    assert net.inner[0].weight.grad is kept and (kept == 3.0).all() and y0.grad is None
    assert all(p.grad is None for p in net.inner[2].parameters()) and all(p.requires_grad for p in net.parameters())
    assert torch.equal(torch.get_rng_state(), random) and net.seen == 0.0
    assert not any(isinstance(value, torch.Tensor) for value in vars(seen).values())
    gc.collect()
    before = sum(1 for x in gc.get_objects() if type(x) is torch.Tensor)
    monitor(net, y0, T)
    gc.collect()
    assert sum(1 for x in gc.get_objects() if type(x) is torch.Tensor) <= before


@pytest.mark.parametrize("block", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_it_works_in_blocks_without_gradient(block):
    net, free = Net(), monitor(Net(), states(), T)
    with block():
        seen, number = monitor(net, states(), T), log_growth(net, states(), T)
    assert np.array_equal(seen.exponent, free.exponent) and np.array_equal(seen.radius, free.radius)
    assert number == pytest.approx(float(free.log_growth.mean()))


def test_under_autocast_func_runs_in_half_precision():
    net = Net().float()
    with torch.autocast("cpu", torch.bfloat16):
        seen = monitor(net, states(dtype=torch.float32), T, rtol=1e-2, atol=1e-2)
    plain = monitor(net, states(dtype=torch.float32), T, rtol=1e-2, atol=1e-2)
    assert seen.exponent == pytest.approx(plain.exponent, abs=0.05) and not np.array_equal(seen.radius, plain.radius)


def test_threads_find_what_one_finds():
    net, found = Net(), {}
    want = monitor(net, states(), T).exponent

    def work(i):
        found[i] = monitor(net, states(), T).exponent

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(found[i], want) for i in range(3))


def test_probes_follow_the_generator_and_are_the_same_without_one():
    def by(seed):
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        return monitor(field, states(), T, generator=generator).exponent

    assert np.array_equal(by(None), by(None)) and np.array_equal(by(7), by(7)) and not np.array_equal(by(7), by(8))


def test_log_growth_is_the_mean_and_goes_into_a_strength():
    value = log_growth(field, states(), T)
    assert type(value) is float and value == pytest.approx(monitor(field, states(), T).numbers()["log_growth"])
    ode = NeuralODE(Net(), regulariser="er_mean", strength=ss.neural.strength.ratio(0.3))
    out = ode(states(), torch.tensor(T))
    out.total(out.y[-1].square().mean(), context=log_growth(ode, states(), T)).backward()


def test_costs_are_counted():
    calls = 0

    def counted(t, y):
        nonlocal calls
        calls += 1
        return field(t, y)

    seen = monitor(counted, states(), T, times=4, iterations=5, vectors=2)
    assert seen.nfev == calls and seen.cost == (seen.nfev + seen.vjps) / seen.nfev_plain
    assert seen.vjps > 4 * 5 * 2 and len(seen.radius) == 4


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"times": 1}, "times must be a whole number of at least 2, got 1"),
        ({"times": 4.0}, "times must be a whole number"),
        ({"iterations": 0}, "iterations must be a whole number of at least 1"),
        ({"vectors": True}, "vectors must be a whole number"),
        ({"per_sample": None}, "per_sample must be True or False"),
        ({"warn": 1}, "warn must be True or False"),
        ({"generator": 3}, "generator must be a torch.Generator or None"),
        ({"rtol": -1.0}, "rtol must be"),
        ({"method": "tsit"}, "tsit5"),
        ({"controller": "pi43"}, "pi34"),
        ({"vector": 2}, "did you mean 'vectors'"),
        ({"t": [1.0, 1.0]}, "strictly"),
        ({"t": [[0.0] * 4, [1.0] * 4], "method": "rk4"}, "needs a step_size for 'rk4'"),
        ({"y0": states().to(torch.float16)}, "y0 must be float32 or float64"),
        ({"func": 3}, "func must be callable"),
    ],
)
def test_bad_input_is_one_clear_error(given, said):
    with pytest.raises(ValueError, match=said):
        monitor(**{"func": field, "y0": states(), "t": T, **given})


def test_a_func_without_a_graph_is_refused():
    def cut(t, y):
        return field(t, y.detach())

    with pytest.raises(ValueError, match="leaves no graph"):
        monitor(cut, states(), T)
    with pytest.raises(ValueError, match="leaves no graph"):
        log_growth(NeuralODE(cut), states(), T)


@pytest.mark.parametrize("steps", [False, True])
def test_rows_that_depend_on_each_other_are_one_system(steps):
    def mixed(t, y):
        return y - y.mean(0)

    with pytest.raises(ValueError, match="per_sample=False"):
        monitor(NeuralODE(mixed, per_sample=steps), states(), T)
    seen = monitor(mixed, states(), T, per_sample=False, iterations=100)
    assert seen.exponent.shape == (1,) and seen.radius == pytest.approx(1.0)


def test_torch_func_is_refused():
    with pytest.raises(RuntimeError, match="torch.func cannot transform it"):
        torch.func.grad(lambda y: y.sum() * log_growth(field, y, T))(states())
