"""Networks: layers, containers and losses under one name.

- `Module`: the base class; parameters, modes, state, saving and loading.
- `Linear`, `ReLU`, `Tanh`, `Dropout`; `BatchNorm`, `LayerNorm`; `Sequential`, `MLP`.
- `mse`, `cross_entropy`.
- `aside`, `drawn`, `recalled`, `performed`, `checked`: how a layer of one's own says what it does
  beside its result, so that it can be compiled.

In the order in which to read it: `state` (arrays by name, in files), `module`, `layers`, `losses`,
`normalization`, `containers`.

A training step is forward, backward, and an optimizer of `tinygraph.optim`:

>>> import numpy as np
>>> from tinygraph import nn, optim
>>> rng = np.random.default_rng(0)
>>> x, labels = rng.normal(size=(32, 4)), rng.integers(3, size=32)
>>> model = nn.MLP(4, 16, 3, batchnorm=True, rng=0)
>>> optimizer = optim.SGD(model.parameters(), lr=0.5)
>>> losses = []
>>> for _ in range(50):
...     loss = nn.cross_entropy(model(x), labels)
...     optimizer.zero_grad()
...     loss.backward()
...     optimizer.step()
...     losses.append(loss.item())
>>> losses[-1] < losses[0] / 2
True
"""

from __future__ import annotations

from tinygraph.engine.effects import aside, checked, drawn, performed, recalled
from tinygraph.nn.containers import MLP, Sequential
from tinygraph.nn.layers import Dropout, Linear, ReLU, Tanh
from tinygraph.nn.losses import cross_entropy, mse
from tinygraph.nn.module import Module
from tinygraph.nn.normalization import BatchNorm, LayerNorm

__all__ = [
    "MLP",
    "BatchNorm",
    "Dropout",
    "LayerNorm",
    "Linear",
    "Module",
    "ReLU",
    "Sequential",
    "Tanh",
    "aside",
    "checked",
    "cross_entropy",
    "drawn",
    "mse",
    "performed",
    "recalled",
]
