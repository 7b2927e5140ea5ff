"""Stochastic differential equations in torch: adaptive and fixed steps, batched, differentiable.

brownian    Brownian motion ahead of every sample: with memory, so that a rejected step keeps what it has drawn
attempt     one trial step of every method
loop        the adaptive pass; `steps`, steps of given size; `replay`, accepted steps taken again with gradient
"""
