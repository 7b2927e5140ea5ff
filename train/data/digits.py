"""Digits: 1797 handwritten digits of 8 x 8 pixels, 17 grey values, in scikit-learn.

E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository 1998, doi
10.24432/C50P49 (CC BY 4.0); the test part of that set, as scikit-learn (BSD 3-Clause) ships it.  Nearly linearly
separable: logistic regression is right on 96 to 98 %. Good for showing mechanics, no evidence of what a flow or its
regularisation is worth.
"""

from __future__ import annotations

import numpy as np

from .dataset import Images, draw_split
from .store import Arrays, cached, package

DIGEST = "c22fc8f25416f9d5c175dc856a30fd682d0d5e94693cc632f389408518f1af9c"
SEED = 1797


def digits() -> Images:
    """x (1797, 64) in [0, 1], 10 classes; 60 / 15 / 25 % of every class for training, validation and test."""
    raw = cached("digits", DIGEST, "scikit-learn", _parse)
    labels = raw["labels"].astype(np.int64)
    return Images("digits", raw["pixels"] / 16.0, labels, 10, draw_split(len(labels), SEED, 0.15, 0.25, labels))


def _parse() -> Arrays:
    data = package("sklearn.datasets", "digits", "scikit-learn").load_digits()
    return {"pixels": data.data.astype(np.uint8), "labels": data.target.astype(np.uint8)}
