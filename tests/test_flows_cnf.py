"""Continuous normalising flows against exact log densities, and the measures of samples."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch

from stepsmith.flows import CNF, EDM, VP, FlowMatching, Model, energy_distance, fine, mixture, paired_error, sample

MEANS, SCALES, WEIGHTS = [[1.5, -0.5], [-1.0, 0.7], [0.0, 2.0]], [0.6, 0.8, 0.5], [0.5, 0.2, 0.3]
A = torch.tensor([[0.3, 1.1, 0.0], [-0.7, -0.4, 0.2], [0.5, 0.1, 0.6]], dtype=torch.float64)
TIGHT = {"rtol": 1e-9, "atol": 1e-9}


class Linear(torch.nn.Module):
    """dx/dt = A x."""

    def __init__(self, matrix):
        super().__init__()
        self.matrix = torch.nn.Parameter(matrix.clone())

    def forward(self, x, t):
        return x @ self.matrix.T


def points(n=7, d=3, seed=0):
    return torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def linear_log_prob(matrix, x, span=1.0):
    """Data are z' = expm(A span) z of standard normal z: a normal law."""
    push = scipy.linalg.expm(matrix.numpy() * span)
    return torch.tensor(scipy.stats.multivariate_normal(np.zeros(len(push)), push @ push.T).logpdf(x.numpy()))


@pytest.mark.parametrize("per_sample", [True, False])
def test_a_linear_field(per_sample):
    out = CNF(Linear(A), per_sample=per_sample, **TIGHT)(points())
    torch.testing.assert_close(out.log_prob.detach(), linear_log_prob(A, points()), rtol=1e-7, atol=1e-7)
    pulled = points() @ torch.tensor(scipy.linalg.expm(-A.numpy())).T
    torch.testing.assert_close(out.z.detach(), pulled, rtol=1e-7, atol=1e-7)
    assert out.success and out.nfe > 5 and out.log_prob.dtype == torch.float64


def test_other_times():
    flow = CNF(Linear(A), t=(-0.5, 0.2), **TIGHT)
    exact = linear_log_prob(A, points(), -0.7)
    torch.testing.assert_close(flow.log_prob(points()).detach(), exact, rtol=1e-7, atol=1e-7)
    back = flow.sample(flow(points()).z.detach())
    torch.testing.assert_close(back, points(), rtol=1e-7, atol=1e-7)


def test_the_gradient_is_that_of_the_exact_density():
    """d log p / dA against differences of the normal law's."""
    flow = CNF(Linear(A), **TIGHT)
    x = points(4)
    (slope,) = torch.autograd.grad(flow(x).log_prob.sum(), [flow.velocity.matrix])
    for i, j in ((0, 0), (1, 2), (2, 0)):
        step = torch.zeros_like(A)
        step[i, j] = 1e-5
        rise = linear_log_prob(A + step, x).sum() - linear_log_prob(A - step, x).sum()
        assert float(slope[i, j]) == pytest.approx(float(rise) / 2e-5, rel=1e-6)


def test_hutchinsons_trace_is_unbiased():
    """The same sample many times: the mean over probes is the exact log density, and one probe is not."""
    n = 4000
    x = points(1).expand(n, 3)
    flow = CNF(Linear(A), trace="hutchinson", per_sample=False, rtol=1e-7, atol=1e-7)
    with torch.no_grad():
        found = flow.log_prob(x, torch.Generator().manual_seed(1))
    exact = float(linear_log_prob(A, points(1)))
    assert float(found.std()) > 0.1
    assert abs(float(found.mean()) - exact) < 5.0 * float(found.std()) / math.sqrt(n)
    more = CNF(Linear(A), trace="hutchinson", probes=4, per_sample=False, rtol=1e-7, atol=1e-7)
    with torch.no_grad():
        four = more.log_prob(x, torch.Generator().manual_seed(1))
    assert float(four.std()) == pytest.approx(float(found.std()) / 2.0, rel=0.1)


def test_random_signs_are_exact_where_the_jacobian_is_diagonal():
    flow = CNF(Linear(torch.diag(torch.diagonal(A))), trace="hutchinson", **TIGHT)
    exact = linear_log_prob(torch.diag(torch.diagonal(A)), points())
    torch.testing.assert_close(flow.log_prob(points()).detach(), exact, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("process", [FlowMatching(), VP(), EDM()], ids=lambda p: p.name)
def test_a_mixture_through_its_probability_flow(process):
    """The base's law at the noise's end is the mixture's own there; of flow matching it is the normal law."""
    model = mixture(MEANS, SCALES, WEIGHTS, process)
    base = None if process.ends_clean else lambda z: model.log_density(z, process.t_noise)
    x = model.draw(9, torch.Generator().manual_seed(3))
    x = process.a(process.t_data) * x
    out = CNF(model, base=base, rtol=1e-8, atol=1e-8)(x)
    torch.testing.assert_close(out.log_prob, model.log_density(x, process.t_data), rtol=1e-5, atol=1e-5)
    if base is not None:
        normal = CNF(model, rtol=1e-8, atol=1e-8)(x)
        torch.testing.assert_close(normal.log_prob, out.log_prob, rtol=0.0, atol=0.2)


def test_training_with_the_error_regulariser():
    """A few steps raise the likelihood; the penalty is there in training, with a gradient, and is zero in eval mode."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 16), torch.nn.Tanh(), torch.nn.Linear(16, 2))

    class Field(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x, t):
            return self.net(torch.cat([x, t[:, None].expand(len(x), 1)], 1))

    flow = CNF(Field(), rtol=1e-3, atol=1e-3, regulariser="er_mean", strength=1.0)
    data = mixture(MEANS, SCALES, WEIGHTS).draw(64, torch.Generator().manual_seed(0)).float()
    optimiser = torch.optim.Adam(flow.parameters(), lr=0.02)
    losses = []
    for _ in range(8):
        out = flow(data)
        loss = -out.log_prob.mean()
        total = out.total(loss)
        penalty = float(out.penalty.detach())
        assert penalty > 0.0 and float(total.detach()) == pytest.approx(float(loss.detach()) + penalty, rel=1e-5)
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.1
    (slope,) = torch.autograd.grad(flow(data).penalty, [net[0].weight])
    assert float(slope.abs().max()) > 0.0
    with torch.no_grad():
        assert float(flow.eval()(data).penalty) == 0.0


def test_a_velocity_without_a_graph_is_refused():
    """Its divergence would be taken for zero."""
    field, x = Linear(A), points()

    def detached(x, t):
        return field(x.detach(), t)

    @torch.no_grad()
    def frozen(x, t):
        return field(x, t)

    for trace in ("exact", "hutchinson"):
        for velocity in (detached, frozen):
            with pytest.raises(ValueError, match="velocity must be differentiable in x"):
                CNF(velocity, trace=trace).log_prob(x)
        with torch.inference_mode(), pytest.raises(ValueError, match="velocity must be differentiable in x"):
            CNF(field, trace=trace).log_prob(x)
        # a velocity that is the same everywhere has none to lose
        for shift in (torch.ones(3, dtype=torch.float64), torch.nn.Parameter(torch.ones(3, dtype=torch.float64))):
            found = CNF(lambda x, t, shift=shift: shift.expand_as(x), trace=trace).log_prob(x)
            normal = torch.distributions.Normal(0.0, 1.0)
            torch.testing.assert_close(found, normal.log_prob(x - 1.0).sum(1), rtol=1e-6, atol=1e-6)


def test_images_and_models_with_parameters():
    net = torch.nn.Linear(4, 4).double()

    def ask(x, t):
        return net(x.flatten(1)).reshape(x.shape)

    x = points(5, 4).reshape(5, 1, 2, 2)
    one = CNF(ask, **TIGHT)(x)
    two = CNF(lambda x, t: net(x), **TIGHT)(x.flatten(1))
    torch.testing.assert_close(one.log_prob, two.log_prob)
    assert one.z.shape == x.shape

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = net

        def forward(self, x, t):
            return self.layer(x)

    flow = CNF(Model(Net(), FlowMatching()), **TIGHT)
    assert len(list(flow.parameters())) == 2
    torch.testing.assert_close(flow.log_prob(x.flatten(1)), two.log_prob)


def test_bad_input():
    with pytest.raises(ValueError, match="did you mean 'hutchinson'"):
        CNF(Linear(A), trace="hutchison")
    with pytest.raises(ValueError, match="two different times"):
        CNF(Linear(A), t=(1.0, 1.0))
    with pytest.raises(ValueError, match="velocity must be a function"):
        CNF(3)
    with pytest.raises(ValueError, match="t must not hold 1, where a network that predicts denoised"):
        CNF(Model(lambda x, t: x, FlowMatching(), "denoised"))
    with pytest.raises(ValueError, match="t must be from 0 to 1"):
        CNF(mixture(MEANS, SCALES), t=(2.0, 0.0))
    with pytest.raises(ValueError, match="base must be given"):
        CNF(mixture(MEANS, SCALES), t=(0.0, 1.0))
    with pytest.raises(ValueError, match="velocity must return x's shape"):
        CNF(lambda x, t: x[:, :1])(points())
    with pytest.raises(ValueError, match="base must return a log density a sample"):
        CNF(Linear(A), base=lambda z: z)(points())
    with pytest.raises(RuntimeError):
        CNF(lambda x, t: x * math.nan)(points())
    with pytest.warns(UserWarning), torch.no_grad():
        out = CNF(lambda x, t: torch.where(x > 5.0, torch.nan, x), on_failure="warn")(
            torch.cat([points(2), torch.full((1, 3), 6.0, dtype=torch.float64)])
        )
    assert not out.success and torch.isnan(out.log_prob).tolist() == [False, False, True]


def test_energy_distance():
    """In one dimension it is 2 int (F - G)^2; SciPy has the root of that, with pairs of a draw with itself."""
    x, y = points(40, 1, 1), 0.5 + 1.3 * points(30, 1, 2)
    theirs = scipy.stats.energy_distance(x[:, 0].numpy(), y[:, 0].numpy()) ** 2
    own = sum(float(torch.pdist(v).mean()) / len(v) for v in (x, y))  # what those pairs take off the means
    assert energy_distance(x, y) == pytest.approx(theirs - own, rel=1e-10)
    z = points(2000, 3, 3)
    assert abs(energy_distance(z[:1000], z[1000:])) < 0.02 < energy_distance(z[:1000], z[1000:] + 0.5)
    with pytest.raises(ValueError, match="same features"):
        energy_distance(x, z)


def test_paired_error():
    exact = torch.tensor([[3.0, 4.0], [0.0, 5.0]])
    assert paired_error(exact * 1.1, exact) == pytest.approx(10.0, rel=1e-5)
    with pytest.raises(ValueError, match="shape"):
        paired_error(exact[:1], exact)
    model, z = mixture(MEANS, SCALES, WEIGHTS), points(20, 2)
    best = fine(model, z, 1e-8)
    errors = [paired_error(sample(model, z, "heun", n).y, best) for n in (20, 40)]
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.25)
    with pytest.raises(RuntimeError, match="the fine solution failed"):
        fine(Model(lambda x, t: x * math.nan, FlowMatching()), z)
