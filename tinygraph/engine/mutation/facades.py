"""`Facade`: a Tensor that stands for another one, which may change.

Its data, its name, and what it was computed by are those of the value that it has now. It says of
itself that it is an `numpy.ndarray`, because code asks.
"""

from __future__ import annotations

import copyreg
from typing import Any

import numpy as np

from tinygraph.engine.functions import describe
from tinygraph.engine.tensor import LEAF, Recorded, Tensor, made

__all__ = ["Facade", "give_label"]

Label = tuple[str | None, Any]


def give_label(value: Tensor, label: Label) -> None:
    """Name a value, and say where it was assigned if that is known."""
    value.name, origin = label
    if origin is not None:
        value.origin = origin


class Facade(Tensor):
    """A Tensor whose value may change.

    Attributes
    ----------
    name : str or None
        Of the value that it has now.
    """

    __slots__ = ("_label",)

    _label: Label | None

    def _now(self) -> Any:
        """Give the value: a Tensor, or a locked array where nothing recorded was written."""
        raise NotImplementedError

    @property
    def _known(self) -> Any:
        """Give the value where that records nothing, or None."""
        raise NotImplementedError

    def relabel(self, name: str | None, origin: Any) -> None:
        """Say what values are called that are read or recorded later."""
        self._label = name, origin

    def settled(self) -> Tensor:
        """Give the value as a Tensor."""
        value = self._now()
        return value if isinstance(value, Tensor) else made(Tensor, value, LEAF)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return np.ndarray

    @property
    def _data(self) -> Any:
        value = self._now()
        return value._data if isinstance(value, Tensor) else value

    @property
    def _recorded(self) -> Recorded:  # type: ignore[override]
        return self.settled()._recorded

    @property
    def _index(self) -> int:  # type: ignore[override]
        return self.settled()._index

    @property
    def _version(self) -> int:  # type: ignore[override]
        return self.settled()._version

    @property
    def _grad(self) -> Any:
        return self.settled()._grad

    @_grad.setter
    def _grad(self, value: Any) -> None:
        self.settled()._grad = value

    @property
    def data(self) -> Any:
        """The value, read-only."""
        return self.settled().data

    @data.setter
    def data(self, value: Any) -> None:
        raise TypeError(
            f"{describe(self)} is an array of a traced function, which has no data to replace; "
            "write into it: x[...] = value"
        )

    @property
    def name(self) -> str | None:
        """What pictures, equations and messages call its value."""
        value = self._known
        if isinstance(value, Tensor):
            return value.name
        return self._label[0] if self._label else None

    @name.setter
    def name(self, name: str | None) -> None:
        value = self._known
        if isinstance(value, Tensor):
            value.name = name
        self.relabel(name, None)

    @property
    def origin(self) -> Any:
        """Where `trace` saw its value assigned."""
        value = self._known
        if isinstance(value, Tensor):
            return value.origin
        if self._label is None:
            raise AttributeError("origin")
        return self._label[1]

    @origin.setter
    def origin(self, origin: Any) -> None:
        value = self._known
        if isinstance(value, Tensor):
            value.origin = origin
        self.relabel(self._label[0] if self._label else None, origin)

    def _labelled(self, value: Any) -> Any:
        """Name a value that has no name after the variable of this handle."""
        if self._label is not None and isinstance(value, Tensor) and value.name is None:
            give_label(value, self._label)
        return value

    def backward(self, dout: Any = None) -> None:
        """See `Tensor.backward`."""
        dout = dout.settled() if isinstance(dout, Tensor) else dout
        self.settled().backward(dout)

    def _as_number(self, kind: str) -> Any:
        value = self._now()
        return value._as_number(kind) if isinstance(value, Tensor) else value.item()

    def __repr__(self) -> str:
        return repr(self._now())

    def __str__(self) -> str:
        return str(self._now())

    def __reduce_ex__(self, protocol: Any) -> Any:
        return copyreg.dispatch_table[Tensor](self.settled())
