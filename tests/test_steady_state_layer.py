"""`SteadyState`: its starts, its penalty, what it refuses, and that it is a module like any other."""

import copy
import pickle
import warnings

import pytest
import torch

import stepsmith as ss

F64 = torch.float64
B0, Z0 = torch.randn(5, 6, dtype=F64, generator=torch.Generator().manual_seed(0)), torch.zeros(5, 6, dtype=F64)


class Cell(torch.nn.Module):
    def __init__(self, d=6):
        super().__init__()
        self.z, self.x = torch.nn.Linear(d, d).double(), torch.nn.Linear(d, d).double()
        with torch.no_grad():
            self.z.weight.mul_(0.5)

    def forward(self, z, x):
        return torch.tanh(self.z(z) + self.x(x))


SteadyState = ss.neural.SteadyState


def layer(start="zeros", **more):
    torch.manual_seed(1)
    cell, skip = Cell(), torch.nn.Linear(6, 6).double() if start == "skip" else None
    return SteadyState(cell, start, skip, tol=1e-8, **more)


@pytest.mark.parametrize("start", ["zeros", "skip", "skip_reg"])
def test_the_start_changes_the_way_and_not_the_place(start):
    model = layer(start)
    out = model(B0)
    assert torch.allclose(out.z, layer()(B0).z, atol=1e-6)
    if start == "zeros":
        assert out.penalty == 0 and not out.penalty.requires_grad
    else:
        z0 = model.skip(B0) if start == "skip" else model.func(Z0, B0)
        assert torch.equal(out.penalty, (out.z - z0).abs().mean())
    assert out.nfev == out.solution.stats.nfev + (start == "skip_reg") and out.mask.all()
    assert sorted(dict(model.named_children())) == (["func", "skip"] if start == "skip" else ["func"])
    alone = model(B0[0])
    assert torch.allclose(alone.z, out.z[0], atol=1e-6) and (alone.penalty > 0) == (start != "zeros")
    model.eval()
    assert model(B0).penalty == 0
    model.train()
    with torch.no_grad():
        assert model(B0).penalty == 0


def test_it_is_copied_pickled_saved_and_loaded_like_any_module():
    a = layer("skip")
    for b in (copy.deepcopy(a), pickle.loads(pickle.dumps(a))):
        assert torch.equal(a(B0).z, b(B0).z) and b.func is not a.func
    b = SteadyState(Cell(), "skip", torch.nn.Linear(6, 6).double(), tol=1e-8)
    b.load_state_dict(a.state_dict())
    assert torch.equal(a(B0).z, b(B0).z) and "start='skip', rtol=1e-08" in repr(b)


def test_features_say_what_shape_z_has():
    class Wide(torch.nn.Module):
        def forward(self, z, x):
            return 0.5 * torch.tanh(z) + x["image"].mean(1)[:, None, None]

    out = SteadyState(Wide(), features=(2, 3))({"image": B0, "label": torch.arange(5)})
    assert out.z.shape == (5, 2, 3) and out.z.dtype == F64
    with pytest.raises(ValueError, match="features says what shape"):
        SteadyState(Wide())({"image": B0})


MODULE_REFUSED = {
    "needs skip=": lambda: SteadyState(Cell(), "skip"),
    "has no use for skip=": lambda: SteadyState(Cell(), skip=Cell()),
    "features belongs to": lambda: SteadyState(Cell(), "skip", torch.nn.Linear(6, 6), 6),
    "features must be": lambda: SteadyState(Cell(), features=0.5),
    "start.*did you mean 'skip_reg'": lambda: SteadyState(Cell(), "skip_rag"),
    "skip must be callable": lambda: SteadyState(Cell(), "skip", 3),
    "called as func.z, x.": lambda: SteadyState(lambda z: z),
    "tol must be": lambda: SteadyState(Cell(), tol=-1),
    "skip must return a tensor": lambda: SteadyState(Cell(), "skip", lambda x: None)(B0),
    "x must be a tensor or a collection": lambda: SteadyState(Cell())("x"),
    "x holds no float tensor": lambda: SteadyState(Cell())(torch.arange(6)),
    "did you mean 'gradient'": lambda: SteadyState(Cell(), gradiant="gmres"),
}


@pytest.mark.parametrize("said", MODULE_REFUSED)
def test_a_module_refuses_bad_input(said):
    with pytest.raises((ValueError, TypeError), match=said):
        MODULE_REFUSED[said]()


def test_failures_leave_the_penalty_and_the_weights_finite():
    model = layer("skip_reg", on_failure="mask")
    x = B0.clone()
    x[2] = torch.nan
    with pytest.warns(UserWarning, match="1 of 5"):
        out = model(x)
    (out.z.square().sum() + out.penalty).backward()
    kept = layer("skip_reg")
    few = kept(B0[[0, 1, 3, 4]])
    (few.z.square().sum() + few.penalty).backward()
    pairs = zip(model.parameters(), kept.parameters(), strict=True)
    assert out.penalty.isfinite() and all(torch.allclose(p.grad, q.grad, rtol=1e-6, atol=1e-9) for p, q in pairs)


def test_a_layer_trains_and_its_prediction_learns_the_steady_state():
    model = layer("skip", on_failure="warn")
    optimiser = torch.optim.Adam(model.parameters(), 0.02)
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(60):
            out = model(B0)
            loss = (out.z.sum(1) - 1.0).square().mean() + out.penalty
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            found.append((float(loss.detach()), float(out.penalty.detach()), out.solution.stats.nfev))
    assert found[-1][0] < 0.2 * found[0][0] and found[-1][1] < 0.5 * found[0][1] and found[-1][2] < found[0][2]
