"""Networks made of layers: one after the other, and the plain multilayer perceptron."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from tinygraph.nn.layers import Dropout, Linear, ReLU, Rng
from tinygraph.nn.module import Module
from tinygraph.nn.normalization import BatchNorm

__all__ = ["MLP", "Sequential"]


class Sequential(Module):
    """Layers one after the other.

    Parameters
    ----------
    *layers : Module or callable
        Each is given what the one before it returns. Functions such as `numpy.tanh` will do; only
        modules have parameters and are printed.

    Raises
    ------
    TypeError
        If a layer cannot be called.

    Examples
    --------
    >>> from tinygraph import nn
    >>> model = Sequential(nn.Linear(4, 8, rng=0), nn.BatchNorm(8), nn.ReLU())
    >>> model
    Sequential()
    ├── layers.0: Linear(4, 8)
    ├── layers.1: BatchNorm(8)
    └── layers.2: ReLU()
    >>> model(np.zeros((2, 4))).shape, len(model), model[0]
    ((2, 8), 3, Linear(4, 8))
    """

    def __init__(self, *layers: Callable[[Any], Any]) -> None:
        for k, layer in enumerate(layers):
            if not callable(layer):
                kind = type(layer).__name__
                hint = "; write Sequential(*layers)" if isinstance(layer, list | tuple) else ""
                raise TypeError(f"Sequential: layer {k} cannot be called: it is a {kind}{hint}")
        self.layers = list(layers)

    def __call__(self, x: Any) -> Any:
        """Apply the layers in order."""
        for layer in self.layers:
            x = layer(x)
        return x

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Callable[[Any], Any]]:
        return iter(self.layers)

    def __getitem__(self, k: int) -> Any:
        return self.layers[k]


class MLP(Sequential):
    """A multilayer perceptron: Linear, BatchNorm if wanted, activation, dropout; Linear at the end.

    Parameters
    ----------
    *sizes : int
        Numbers of features: of the input, of each hidden layer, of the output.
    batchnorm : bool, optional
        Whether each hidden layer normalizes between its product and its activation. Its Linear
        then has no bias; beta takes that place.
    activation : callable, optional
        Makes the activation of a hidden layer, such as the class `ReLU` or `Tanh`.
    dropout : float, optional
        Probability to drop an activation of a hidden layer.
    staged : bool, optional
        See `BatchNorm`.
    rng : numpy.random.Generator or int, optional
        Draws weights and dropped entries; an int is a seed.
    dtype : dtype, optional
        Of all parameters.

    Raises
    ------
    ValueError
        If there are fewer than two sizes, or one is not at least 1.

    Examples
    --------
    >>> MLP(64, 32, 10, batchnorm=True, rng=0)
    MLP()
    ├── layers.0: Linear(64, 32, bias=False)
    ├── layers.1: BatchNorm(32)
    ├── layers.2: ReLU()
    └── layers.3: Linear(32, 10)
    """

    def __init__(
        self,
        *sizes: int,
        batchnorm: bool = False,
        activation: Callable[[], Callable[[Any], Any]] = ReLU,
        dropout: float = 0.0,
        staged: bool = True,
        rng: Rng = None,
        dtype: Any = np.float64,
    ) -> None:
        if len(sizes) < 2:
            raise ValueError(
                f"MLP: {len(sizes)} sizes given, but it takes at least two: features of the input "
                "and of the output, as in MLP(64, 32, 10)"
            )
        rng = np.random.default_rng(rng)
        layers: list[Callable[[Any], Any]] = []
        for n, m in pairwise(sizes[:-1]):
            layers.append(Linear(n, m, bias=not batchnorm, rng=rng, dtype=dtype))
            if batchnorm:
                layers.append(BatchNorm(m, staged=staged, dtype=dtype))
            layers.append(activation())
            if dropout:
                layers.append(Dropout(dropout, rng=rng))
        layers.append(Linear(sizes[-2], sizes[-1], rng=rng, dtype=dtype))
        super().__init__(*layers)
