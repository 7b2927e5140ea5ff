"""Small models of Stable-Baselines3, to export with and without the statistics of their observations."""

import numpy as np
import torch
from stable_baselines3 import PPO

import stepsmith as ss

torch.set_num_threads(1)

ENV = {
    "family": "lorenz",
    "method": "dopri5",
    "features": ["log_err", "log_err_1", "log_ratio_1", "log_tol"],
    "pool_size": 2,
}


def bare(num_envs=8):
    return ss.envs.make_sb3("stepsmith/ODE-v0", num_envs, seed=1, **ENV)


def stir(model):
    """Weights as far from their start as training may bring them."""
    torch.manual_seed(0)
    with torch.no_grad():
        for p in model.policy.parameters():
            p.add_(1.5 * torch.randn_like(p) / np.sqrt(p.shape[-1]))
    return model


def make(venv):
    kwargs = {"n_steps": 16, "batch_size": 16 * venv.num_envs, "n_epochs": 1, "policy_kwargs": {"net_arch": [8]}}
    return PPO("MlpPolicy", venv, seed=0, device="cpu", **kwargs)


def decision_of(venv):
    return venv.unwrapped.core.decision
