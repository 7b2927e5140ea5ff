"""The digits demo: it learns, it is reproducible, and it hands over the field it trained."""

import numpy as np
import pytest
import torch

from stepsmith.train.neural.digits_field import digits, digits_demo

torch.set_num_threads(1)


def test_digits_are_split_once():
    x, labels, held, held_labels = digits()
    assert x.shape == (1348, 64) and held.shape == (449, 64) and x.dtype == torch.float64
    assert 0 <= x.min() and x.max() <= 1 and set(held_labels.tolist()) == set(range(10))
    assert torch.equal(digits()[2], held)


def test_it_learns_and_the_weights_are_those_of_the_field():
    rows = []
    result = digits_demo(epochs=3, hidden=32, log=rows.append)
    assert result.accuracy > 0.85 and rows == result.history and len(rows) == 3
    assert rows[0]["loss"] > rows[2]["loss"] and rows[2]["nfev"] > 0 and result.nfev > 500
    w = result.weights()
    y = result.y0[:5].numpy()
    slope = np.tanh(y @ w["W1"].T + w["b1"]) @ w["W2"].T + w["b2"]
    np.testing.assert_allclose(slope, result.field(torch.tensor(0.0), result.y0[:5]).detach().numpy(), rtol=1e-12)
    assert w["W1"].shape == (32, 64) and w["head_w"].shape == (10, 64)


def test_the_seed_fixes_the_weights_and_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    a, b = (digits_demo(epochs=1, hidden=8, batch=512).weights() for _ in range(2))
    assert torch.equal(torch.rand(1), expected)
    assert all(np.array_equal(a[k], b[k]) for k in a)
    assert not np.array_equal(a["W1"], digits_demo(epochs=1, hidden=8, batch=512, seed=1).weights()["W1"])


def test_bad_arguments():
    with pytest.raises(ValueError, match="at least 1"):
        digits_demo(epochs=0)
    with pytest.raises(TypeError, match="lacks params"):
        digits_demo(epochs=1, controller=object())
