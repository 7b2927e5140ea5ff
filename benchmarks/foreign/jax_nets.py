"""The models of torch_nets.py in equinox, for one image or subject, and plain SGD and Adam: optax is not needed.

They are imported by the diffrax scripts beside them and have no command of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

Array = jax.Array
tree_map = jax.tree.map


def norm(channels: int) -> eqx.nn.GroupNorm:
    return eqx.nn.GroupNorm(channels // 2, channels)


class Convolution(eqx.Module):
    """A convolution of 3 x 3 pixels that keeps the image's size, as a product of a matrix with patches of the image.

    Inside a loop, where a solver calls it, XLA's own convolution takes seven times as long on a CPU, and its gradient
    too.
    """

    kernel: Array
    bias: Array

    def __init__(self, inputs: int, outputs: int, key: Array) -> None:
        made = eqx.nn.Conv2d(inputs, outputs, 3, key=key)
        self.kernel, self.bias = made.weight.transpose(2, 3, 1, 0).reshape(9 * inputs, outputs), made.bias

    def __call__(self, x: Array) -> Array:
        height, width = x.shape[1:]
        padded = jnp.pad(x.transpose(1, 2, 0), ((1, 1), (1, 1), (0, 0)))
        patches = [padded[i : i + height, j : j + width] for i in range(3) for j in range(3)]
        return (jnp.concatenate(patches, axis=2) @ self.kernel).transpose(2, 0, 1) + self.bias


class ImageField(eqx.Module):
    """Two convolutions of the state with the time as one more channel, group norms before, between and behind."""

    norms: list[eqx.nn.GroupNorm]
    convolutions: list[Convolution]

    def __init__(self, channels: int, key: Array) -> None:
        self.norms = [norm(channels) for _ in range(3)]
        self.convolutions = [Convolution(channels + 1, channels, k) for k in jax.random.split(key, 2)]

    def __call__(self, t: Array, x: Array) -> Array:
        time = jnp.full_like(x[:1], t)
        for group, convolution in zip(self.norms, self.convolutions, strict=False):
            x = convolution(jnp.concatenate([time, jax.nn.relu(group(x))]))
        return self.norms[2](x)


class ImageNet(eqx.Module):
    """An image to scores of ten classes: convolutions down to 6 x 6 pixels, `solve` of the field, a linear head."""

    down: list[Any]
    field: ImageField
    last_norm: eqx.nn.GroupNorm
    head: eqx.nn.Linear

    def __init__(self, key: Array, channels: int = 32) -> None:
        c, keys = channels, jax.random.split(key, 5)
        self.down = [
            eqx.nn.Conv2d(1, c, 3, key=keys[0]), norm(c), jax.nn.relu,
            eqx.nn.Conv2d(c, c, 4, 2, 1, key=keys[1]), norm(c), jax.nn.relu,
            eqx.nn.Conv2d(c, c, 4, 2, 1, key=keys[2]),
        ]  # fmt: skip
        self.field = ImageField(c, keys[3])
        self.last_norm, self.head = norm(c), eqx.nn.Linear(c, 10, key=keys[4])

    def features(self, x: Array) -> Array:
        for layer in self.down:
            x = layer(x)
        return x

    def scores(self, y: Array) -> Array:
        return self.head(jax.nn.relu(self.last_norm(y)).mean((1, 2)))


class LatentField(eqx.Module):
    net: eqx.nn.MLP

    def __init__(self, latent: int, hidden: int, key: Array) -> None:
        self.net = eqx.nn.MLP(latent, latent, hidden, 2, jax.nn.elu, key=key)

    def __call__(self, t: Array, z: Array) -> Array:
        return self.net(z)


class LatentODE(eqx.Module):
    """A recurrent net reads a series backwards and guesses where the latent state began; a decoder reads the state."""

    field: LatentField
    remember: eqx.nn.Linear
    guess: eqx.nn.Linear
    decode: eqx.nn.MLP
    recurrent: int = eqx.field(static=True)

    def __init__(
        self, inputs: int, outputs: int, key: Array, latent: int = 4, hidden: int = 20, recurrent: int = 25
    ) -> None:
        keys = jax.random.split(key, 4)
        self.recurrent = recurrent
        self.field = LatentField(latent, hidden, keys[0])
        self.remember = eqx.nn.Linear(inputs + recurrent, recurrent, key=keys[1])
        self.guess = eqx.nn.Linear(recurrent, 2 * latent, key=keys[2])
        self.decode = eqx.nn.MLP(latent, outputs, hidden, 1, jax.nn.relu, key=keys[3])

    def encode(self, visits: Any) -> tuple[Array, Array]:
        """Mean and logarithm of the variance of one subject's first latent state."""

        def read(memory: Array, visit: tuple[Array, Array]) -> tuple[Array, None]:
            after = jnp.tanh(self.remember(jnp.concatenate([visit[0], memory])))
            return jnp.where(visit[1], after, memory), None

        start = jnp.zeros(self.recurrent, visits.inputs.dtype)
        memory, _ = jax.lax.scan(read, start, (visits.inputs, visits.real), reverse=True)
        mean, logvar = jnp.split(self.guess(memory), 2)
        return mean, logvar

    def loss(
        self, visits: Any, solve: Callable[[Array, Any], tuple[Array, Any]], noise: float, key: Array
    ) -> tuple[Array, Any]:
        """One subject's negative evidence lower bound, and what `solve` tells beside the latent states."""
        mean, logvar = self.encode(visits)
        z0 = mean + jax.random.normal(key, mean.shape) * jnp.exp(0.5 * logvar)
        z, told = solve(z0, visits)
        off = (visits.values - jax.vmap(self.decode)(z)) / noise
        unlikely = 0.5 * (math.log(2.0 * math.pi) + 2.0 * math.log(noise) + off**2) * visits.mask
        divergence = 0.5 * (mean**2 + jnp.exp(logvar) - 1.0 - logvar)
        return unlikely.sum() + divergence.sum(), told


def zeros(model: Any) -> Any:
    return tree_map(jnp.zeros_like, eqx.filter(model, eqx.is_inexact_array))


def sgd(model: Any, gradients: Any, momentum: Any, rate: float = 0.1, keep: float = 0.9) -> tuple[Any, Any]:
    """The model after one step of gradient descent with momentum, and the momentum."""
    momentum = tree_map(lambda m, g: keep * m + g, momentum, gradients)
    return eqx.apply_updates(model, tree_map(lambda m: -rate * m, momentum)), momentum


def adam(model: Any, gradients: Any, state: Any, rate: float = 0.01) -> tuple[Any, Any]:
    """The model after one step of Adam, and its state: first and second moments, and the number of steps."""
    first, second, n = state
    n = n + 1
    first = tree_map(lambda m, g: 0.9 * m + 0.1 * g, first, gradients)
    second = tree_map(lambda v, g: 0.999 * v + 0.001 * g**2, second, gradients)
    scale = rate * jnp.sqrt(1.0 - 0.999**n) / (1.0 - 0.9**n)
    change = tree_map(lambda m, v: -scale * m / (jnp.sqrt(v) + 1e-8), first, second)
    return eqx.apply_updates(model, change), (first, second, n)
