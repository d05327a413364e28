"""Optimizers: from gradients to new parameters.

A step gives each parameter new data and changes no array in place; what was computed from the old
parameters stays as it was.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tinygraph.engine.tensor import Tensor
from tinygraph.nn.state import Stateful, fitted

__all__ = ["SGD", "Adam", "Optimizer"]


class Optimizer(Stateful):
    """Base class: holds the parameters. A subclass says in `update` how one of them moves.

    What it remembers of earlier steps can be saved and loaded, so that training goes on as if it
    had not been interrupted. Numbers such as the learning rate are no part of that.

    Parameters
    ----------
    parameters : iterable of Tensors
        Leaves, each once.
    lr : float
        Learning rate; the attribute of that name may be changed between steps.
    weight_decay : float
        λ of the penalty λ/2 · Σ p², whose gradient λ · p is added to each gradient.

    Attributes
    ----------
    parameters : list of Tensors
    lr, weight_decay : float
    memory : dict
        What is remembered: by name, a list with one array per parameter.

    Raises
    ------
    TypeError
        If a parameter is no Tensor.
    ValueError
        If there are none, one is not a leaf or is given twice, or a number is out of its range.

    Examples
    --------
    Moving by the sign of the gradient alone:

    >>> class SignDescent(Optimizer):
    ...     def update(self, k, g):
    ...         return self.lr * np.sign(g)
    >>> p = Tensor([1.0, 2.0])
    >>> (p * p).backward([3.0, -5.0])
    >>> SignDescent([p], lr=0.5, weight_decay=0.0).step()
    >>> p.data
    array([0.5, 2.5])
    """

    def __init__(self, parameters: Iterable[Tensor], *, lr: float, weight_decay: float) -> None:
        kind = type(self).__name__
        if hasattr(parameters, "parameters"):
            raise TypeError(f"{kind}: takes parameters, not a module; write model.parameters()")
        if isinstance(parameters, Tensor):
            raise TypeError(f"{kind}: parameters must be a list of Tensors; write [p]")
        self.parameters = list(parameters)
        if not self.parameters:
            raise ValueError(f"{kind}: there are no parameters to optimize")
        seen: set[int] = set()
        for p in self.parameters:
            if not isinstance(p, Tensor):
                raise TypeError(f"{kind}: a parameter must be a Tensor, not {type(p).__name__}")
            if p.op is not None:
                raise ValueError(f"{kind}: {p!r} was computed from others and is no parameter")
            if id(p) in seen:
                raise ValueError(f"{kind}: {p!r} is given twice and would move twice a step")
            seen.add(id(p))
        self.lr = _at_least_0(f"{kind}: lr", lr)
        self.weight_decay = _at_least_0(f"{kind}: weight_decay", weight_decay)
        self.memory: dict[str, list[Any]] = {}

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for p in self.parameters:
            p.grad = None

    def step(self) -> None:
        """Give every parameter that has a gradient new data."""
        for k, p in enumerate(self.parameters):
            if p.grad is not None:
                g = p.grad + self.weight_decay * p.data if self.weight_decay else p.grad
                p.data = p.data - self.update(k, g)

    def update(self, k: int, g: Any) -> Any:
        """Give what is subtracted from parameter `k`, whose gradient is `g`."""
        raise NotImplementedError(f"{type(self).__name__} must define update")

    def state_dict(self) -> dict[str, Any]:
        """Give copies of what is remembered of earlier steps, as arrays by name."""
        return {
            f"{name}.{k}": np.array(array)
            for name, arrays in self.memory.items()
            for k, array in enumerate(arrays)
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` of an optimizer of equal parameters gave.

        Parameters
        ----------
        state : mapping of str to array_like

        Raises
        ------
        ValueError
            If names are missing or unexpected or arrays have another shape; all are listed.
        TypeError
            If an array is not of numbers.
        """
        not_negative = {
            f"{name}.{k}" for name in self.not_negative for k in range(len(self.parameters))
        }
        new = fitted(type(self).__name__, self.state_dict(), state, not_negative)
        for name, arrays in self.memory.items():
            arrays[:] = [new[f"{name}.{k}"] for k in range(len(arrays))]

    def _zeros(self) -> list[Any]:
        return [np.zeros(p.shape, p.dtype) for p in self.parameters]


class SGD(Optimizer):
    """Gradient descent, with momentum if wanted.

    v ← momentum · v + g and p ← p − lr · v, v being 0 at first; with Nesterov's momentum
    p ← p − lr · (g + momentum · v). These are PyTorch's conventions.

    Parameters
    ----------
    parameters : iterable of Tensors
    lr : float
        Learning rate.
    momentum : float, optional
        At least 0 and less than 1.
    nesterov : bool, optional
        Look ahead along the momentum (Sutskever et al. 2013).
    weight_decay : float, optional
        λ; adds λ · p to the gradient of p.

    Raises
    ------
    TypeError, ValueError
        As `Optimizer`; also if Nesterov's momentum is asked for without momentum.

    Examples
    --------
    >>> p = Tensor([4.0])
    >>> optimizer = SGD([p], lr=0.25)
    >>> (p * p).sum().backward()
    >>> optimizer.step()
    >>> p.data
    array([2.])
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        lr: float,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr=lr, weight_decay=weight_decay)
        self.momentum, self.nesterov = _fraction("SGD: momentum", momentum), nesterov
        if nesterov and not momentum:
            raise ValueError("SGD: nesterov=True needs a momentum greater than 0")
        if momentum:
            self.memory = {"v": self._zeros()}

    def update(self, k: int, g: Any) -> Any:
        """Give lr · v, or its Nesterov form."""
        if self.momentum:
            v = self.memory["v"][k] = self.momentum * self.memory["v"][k] + g
            g = g + self.momentum * v if self.nesterov else v
        return self.lr * g


class Adam(Optimizer):
    """Steps of about lr along each coordinate, whatever the size of its gradient.

    m ← β₁ m + (1 − β₁) g and s ← β₂ s + (1 − β₂) g², both 0 at first, which makes them too small by
    1 − βᵗ after t steps; p ← p − lr · m/(1 − β₁ᵗ) / (√(s/(1 − β₂ᵗ)) + eps).

    Parameters
    ----------
    parameters : iterable of Tensors
    lr : float, optional
        Learning rate.
    betas : pair of float, optional
        Each at least 0 and less than 1.
    eps : float, optional
        Keeps the quotient finite; greater than 0.
    weight_decay : float, optional
        λ; adds λ · p to the gradient of p, so that it is scaled like the gradient.

    Raises
    ------
    TypeError, ValueError
        As `Optimizer`; also if betas or eps are out of their range.

    Notes
    -----
    Source: D. P. Kingma and J. Ba, *Adam*, 2015, algorithm 1.

    Examples
    --------
    >>> p = Tensor([4.0, 4.0])
    >>> optimizer = Adam([p], lr=0.5)
    >>> (p * [1.0, 1000.0]).sum().backward()
    >>> optimizer.step()
    >>> p.data.round(6)
    array([3.5, 3.5])
    """

    not_negative = ("t", "s")

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        lr: float = 1e-3,
        betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr=lr, weight_decay=weight_decay)
        beta1, beta2 = betas
        self.betas = _fraction("Adam: betas[0]", beta1), _fraction("Adam: betas[1]", beta2)
        if not eps > 0:
            raise ValueError(f"Adam: eps is {eps}, but must be greater than 0")
        self.eps = eps
        steps = [np.array(0) for _ in self.parameters]
        self.memory = {"t": steps, "m": self._zeros(), "s": self._zeros()}

    def update(self, k: int, g: Any) -> Any:
        """Give lr · m/(1 − β₁ᵗ) / (√(s/(1 − β₂ᵗ)) + eps)."""
        beta1, beta2 = self.betas
        memory = self.memory
        t = int(memory["t"][k]) + 1
        m = beta1 * memory["m"][k] + (1 - beta1) * g
        s = beta2 * memory["s"][k] + (1 - beta2) * (g * g)
        memory["t"][k], memory["m"][k], memory["s"][k] = np.array(t), m, s
        mhat, shat = m / (1 - beta1**t), s / (1 - beta2**t)
        return self.lr * mhat / (np.sqrt(shat) + self.eps)


def _at_least_0(what: str, value: float) -> float:
    if not 0 <= value < math.inf:
        raise ValueError(f"{what} is {value}, but must be a finite number of at least 0")
    return value


def _fraction(what: str, value: float) -> float:
    if not 0 <= value < 1:
        raise ValueError(f"{what} is {value}, but must be at least 0 and less than 1")
    return value
