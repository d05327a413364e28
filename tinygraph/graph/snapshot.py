"""`Graph`: the one structure that every tool reads.

A Graph is an immutable, ordered snapshot of what was computed from what. Pictures, equations and
emitted source are all made from it and never from live Tensors. It holds the forward pass alone,
or the **joint graph**: the forward pass, an upstream gradient as one more input, and the backward
pass as the rules of the table write it down.

The nodes are grouped into **steps**. A step is one assignment of the user's: the named node and
the unnamed nodes that feed it, numbered from 1 in order of creation. A backward node belongs to
the step whose rule it comes from; what arrives at the inputs is step 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from tinygraph.engine.autodiff import is_discrete, leaves
from tinygraph.engine.foreign import is_foreign
from tinygraph.engine.operators import Operand
from tinygraph.graph.capturing import Capture
from tinygraph.graph.evaluation import check_premises, evaluate, evaluate_at, number
from tinygraph.graph.flattening import flat, parts
from tinygraph.graph.interchange import parts_of, text_of
from tinygraph.graph.marks import in_letters
from tinygraph.graph.nodes import NOTHING, Gradient, Node, Premise, Step, length_of_sum

__all__ = ["Gradient", "Graph", "Node", "Step"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Graph:
    """An immutable snapshot of a computation; made by `Graph.capture`.

    Attributes
    ----------
    nodes : tuple of Nodes
        In order of creation, so that every node stands after its inputs.
    inputs : tuple of Nodes
        Leaves, and the upstream gradients of a joint graph.
    outputs : tuple of Nodes
    all_gradients : tuple of Gradients
        Every gradient that arrives at a node, in the order of the backward sweep; empty without a
        backward pass.
    gradients : tuple of Gradients
        Those that have a name.
    steps : tuple of Steps
        The forward steps, in order.
    values : mapping
        Value and ``.grad`` (or None) by the index of the node, if they were captured; see `value`
        and `grad`.

    Examples
    --------
    >>> from tinygraph import Tensor
    >>> x = Tensor([1.0, 2.0], name="x")
    >>> y = x * x
    >>> graph = Graph.capture(y, wrt=[x])
    >>> graph.nodes[:2]
    (Node(x, shape=(2,), step=0, input), Node(out, shape=(2,), step=1, op=mul))
    >>> [g.name for g in graph.gradients]
    ['dout', 'dx1', 'dx2', 'dx']
    """

    nodes: tuple[Node, ...]
    inputs: tuple[Node, ...]
    outputs: tuple[Node, ...]
    all_gradients: tuple[Gradient, ...]
    steps: tuple[Step, ...]
    premises: tuple[Premise, ...]
    values: Mapping[int, tuple[Any, Any]]

    @classmethod
    def capture(
        cls,
        outputs: Any,
        wrt: Iterable[Any] | None = None,
        *,
        values: bool = False,
        variables: Mapping[str, Any] | None = None,
    ) -> Graph:
        """Take the snapshot of what `outputs` were computed from.

        Parameters
        ----------
        outputs : Tensor or sequence of Tensors
        wrt : iterable of Tensors, optional
            With respect to what the backward pass is added; without it, the graph is the forward
            pass alone.
        values : bool, optional
            Whether the snapshot keeps what the tensors hold now: their data and their ``.grad``;
            and of a backward pass the values of all its nodes, for the upstream gradients that the
            outputs hold in their ``.grad``. A scalar output that holds none is differentiated as it
            is, with 1, as `Tensor.backward` does; where another has none, or one output is computed
            from another and holds a sum, the nodes of the backward pass have no values.
        variables : mapping, optional
            Variables, such as ``locals()``, to name unnamed tensors after.

        Returns
        -------
        Graph

        Raises
        ------
        TypeError
            If an output is not a Tensor.
        ValueError
            If no output depends on one of `wrt`, or there is no output.
        """
        outputs = tuple(outputs) if isinstance(outputs, tuple | list) else (outputs,)
        if not outputs:
            raise ValueError("Graph.capture: there is no output to capture")
        for out in outputs:
            if not (isinstance(out, Operand) and hasattr(out, "data")):
                raise TypeError(
                    f"an output must be a Tensor, not {type(out).__name__}; trace makes Tensors of "
                    "float arrays alone: pass Tensor(2.0), or np.array(…, dtype=float)"
                )
        if isinstance(wrt, Operand):
            raise TypeError("Graph.capture: wrt must be a list of Tensors; write wrt=[x]")
        names = {
            value.index: name
            for name, value in (variables or {}).items()
            if isinstance(value, Operand) and not name.startswith("_")
        }
        snapshot = Capture(outputs, None if wrt is None else list(wrt), names)
        made = snapshot.freeze()
        graph = cls(**made._asdict(), values=snapshot.values(made) if values else NOTHING)
        snapshot.symbols.clear()  # which every symbol refers to: no cycle is left
        return graph

    @classmethod
    def joint(
        cls,
        outputs: Any,
        wrt: Iterable[Any] | None = None,
        *,
        values: bool = False,
        variables: Mapping[str, Any] | None = None,
    ) -> Graph:
        """Take the snapshot of both passes, with respect to all leaves unless told otherwise.

        Parameters
        ----------
        outputs, wrt, values, variables
            As in `capture`.

        Returns
        -------
        Graph

        Examples
        --------
        >>> from tinygraph import Tensor
        >>> x, w = Tensor([1.0, 2.0], name="x"), Tensor(3.0, name="w")
        >>> [g.name for g in Graph.joint(x * w).gradients]
        ['dout', 'dx', 'dw']
        """
        if wrt is None:
            several = outputs if isinstance(outputs, list | tuple) else [outputs]
            tensors = [x for x in several if isinstance(x, Operand)]
            wrt = leaves(tensors)
        return cls.capture(outputs, wrt, values=values, variables=variables)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle flat, however deep the graph is: nodes are written as their positions."""
        return _restored, (flat(self),)

    def __deepcopy__(self, memo: Any) -> Graph:
        """Give the graph itself, which nobody can change."""
        return self

    def __copy__(self) -> Graph:
        return self

    @property
    def gradients(self) -> tuple[Gradient, ...]:
        """The gradients that have a name, in the order of the backward sweep."""
        return tuple(g for g in self.all_gradients if g.name)

    @property
    def arriving(self) -> dict[int, Gradient]:
        """The gradient of each node that has one, by its index; of several terms their sum."""
        return {g.of.index: g for g in self.all_gradients}  # a sum comes after its terms

    @property
    def lengths(self) -> frozenset[int]:
        """How many values the sums in the graph add up: 64 of a batch of 64."""
        sums = (node for node in self.nodes if node.op is not None and node.op.name == "sum")
        return frozenset(map(length_of_sum, sums))

    def __repr__(self) -> str:
        names = ", ".join(str(node.name) for node in self.outputs)
        backward = f", {len(self.gradients)} gradients" if self.gradients else ""
        return f"Graph({names}: {len(self.nodes)} nodes, {len(self.steps)} steps{backward})"

    def __getitem__(self, name: str) -> Node:
        node = _called(name, {str(node.name): node for node in self.nodes[::-1] if node.name})
        if node is None:
            known = ", ".join(str(node.name) for node in self.nodes if node.name)
            raise KeyError(f"no node is called {name!r}; the names are {known}")
        return node

    def value(self, which: str | int) -> Any:
        """Give the value of a node of either pass, in a graph that holds values.

        Parameters
        ----------
        which : str or int
            The name of a node or of a gradient, as pictures have it (``S′``) or in letters alone,
            as NumPy source has it (``S_2``); or the index of a node.

        Returns
        -------
        ndarray, NumPy scalar or number

        Raises
        ------
        KeyError
            If no node has that name.
        IndexError
            If no node has that index.
        ValueError
            If the graph holds no values, or its backward pass has none.

        Examples
        --------
        >>> from tinygraph import Tensor
        >>> x = Tensor([1.0, 2.0], name="x")
        >>> out = (x * x).sum()
        >>> graph = Graph.joint(out, values=True)
        >>> graph.value("x"), graph.value("dx"), graph.value(graph["dx"].index)
        (array([1., 2.]), array([2., 4.]), array([2., 4.]))
        """
        if isinstance(which, int):
            return self._held(self._at(which), which)
        gradient = _called(which, {g.name: g.node for g in self.gradients})
        return self._held(gradient or self[which], which)

    def grad(self, which: str | int) -> Any:
        """Give the value of a gradient, in a joint graph that holds values.

        Parameters
        ----------
        which : str or int
            The name of a gradient, such as ``dvar`` or ``dx1``, or in letters alone, ``dS_2``; or
            the index of a forward node, for all that arrives there.

        Returns
        -------
        ndarray or NumPy scalar

        Raises
        ------
        KeyError
            If there is no such gradient.
        IndexError, ValueError
            As `value`.

        Examples
        --------
        >>> from tinygraph import Tensor
        >>> x = Tensor([1.0, 2.0], name="x")
        >>> graph = Graph.joint((x * x).sum(), values=True)
        >>> graph.grad("dx1"), graph.grad("dx"), graph.grad(graph["x"].index)
        (array([1., 2.]), array([2., 4.]), array([2., 4.]))
        """
        if isinstance(which, int):
            found = self.arriving.get(self._at(which).index)
        else:
            found = _called(which, {g.name: g for g in self.gradients})
        if found is None:
            known = ", ".join(g.name for g in self.gradients) or "none, without a backward pass"
            raise KeyError(f"there is no gradient {which!r}; the gradients are {known}")
        return self._held(found.node, which)

    def _held(self, node: Node, which: str | int) -> Any:
        if node.role == "constant":
            return number(node)
        if node.index in self.values:
            return self.values[node.index][0]
        if not self.values:
            raise ValueError("this graph holds no values; take it with values=True")
        raise ValueError(
            f"{which!r} has no value, because an output had no upstream gradient of its own when "
            "the graph was captured; call backward(dout) on it before, or use run"
        )

    def _at(self, index: int) -> Node:
        if not 0 <= index < len(self.nodes):
            raise IndexError(f"there is no node {index}; the graph has {len(self.nodes)} nodes")
        return self.nodes[index]

    def to_json(self) -> str:
        """Write the graph as JSON, from which `from_json` makes an equal one.

        Every number is kept to its last bit: fractions, NaNs, signed zeros, dtypes, arrays in
        their memory order. The format carries a version; it is described in
        `tinygraph.graph.interchange`.

        Returns
        -------
        str

        Raises
        ------
        TypeError
            If a primitive of one's own has a parameter that is neither a number, an array, a
            string, a dtype, a slice, nor a list or tuple of such.

        Examples
        --------
        >>> from tinygraph import Tensor
        >>> text = Graph.capture(Tensor(2.0, name="a") * 3).to_json()
        >>> text.splitlines()[1:3]
        [' "tinygraph": "graph",', ' "version": 1,']
        >>> Graph.from_json(text).run(a=5.0)["out"]
        np.float64(15.0)
        """
        return text_of(self)

    @classmethod
    def from_json(cls, text: str | bytes) -> Graph:
        """Read a graph that `to_json` has written.

        Parameters
        ----------
        text : str or bytes

        Returns
        -------
        Graph

        Raises
        ------
        ValueError
            If the text is no such graph or is damaged, if it is written in a newer version of the
            format, or if it uses a primitive that the table does not have. Nothing is imported.

        Examples
        --------
        >>> from tinygraph import Tensor
        >>> graph = Graph.capture(Tensor(2.0, name="a") * Tensor(3.0, name="b"))
        >>> Graph.from_json(graph.to_json())
        Graph(out: 3 nodes, 1 steps)
        """
        return cls(**parts_of(text))

    def run(self, /, **inputs: Any) -> dict[str, Any]:
        """Evaluate the snapshot on arrays.

        Parameters
        ----------
        **inputs : array_like
            One per input, by name, or in letters alone, ``x_2`` for ``x′``. Arrays of other
            packages that speak NumPy's protocols, as dask's and CuPy's, are computed with by their
            own functions, and never made arrays of NumPy's.
            An input may have other lengths than when it was captured,
            if the graph knows of each of its numbers that it was computed from lengths that were
            seen to be such (``x.shape``, a variable bound to ``len(x)``, NumPy's own mean), or
            that it stands in the traced code. Labels, masks and what dropout drew are inputs too.
            Branches that the code took, the number of turns of its loops, and what it read by
            ``.data`` are part of the graph: what they depended on must be as it was.

        Returns
        -------
        dict
            The named values, and the gradients by name.

        Raises
        ------
        ValueError
            If an input is missing, there is no input of that name, or one has another number of
            axes; or at other lengths, if a constant may stand for a length, which is named, an
            entry is picked along an axis that has changed, or lengths do not fit; or if the code
            was told something of its inputs (``if n > 3``, ``float(n)``, ``x.data``) that is not
            true of these, or if a label or an index picks an entry that is not there.
        TypeError
            If an input of integers or bools is given as numbers of another kind, or one of real
            numbers as complex ones; or if an array of another package does not know its shape, or
            cannot do what a node asks of it, which is named.

        Examples
        --------
        >>> from tinygraph import Tensor
        >>> graph = Graph.capture(Tensor(2.0, name="a") * Tensor(3.0, name="b"))
        >>> graph.run(a=5.0, b=7.0)["out"]
        np.float64(35.0)
        """
        wanted = {str(node.name): str(node.name) for node in self.inputs}
        given = len(inputs)
        inputs = {_called(name, wanted) or name: value for name, value in inputs.items()}
        if inputs.keys() != wanted.keys() or len(inputs) != given:
            missing = ", ".join(sorted(wanted.keys() - inputs.keys())) or "none"
            unknown = ", ".join(sorted(inputs.keys() - wanted.keys())) or "none"
            raise ValueError(f"run: missing inputs: {missing}; unknown inputs: {unknown}")
        values: dict[int, Any] = {}
        for node in self.inputs:
            value = _as_input(inputs[str(node.name)], node)
            if value.ndim != len(node.shape):
                raise ValueError(
                    f"run: {node.name} has shape {value.shape}, but was captured with "
                    f"{node.shape}; capture the graph again for another number of axes"
                )
            stays = value.dtype.kind == "O" or is_foreign(value)
            values[node.index] = value if stays else value[()]
        if all(values[node.index].shape == node.shape for node in self.inputs):
            evaluate(self.nodes, values)
            asked = [one for one in self.premises if not one.formula.is_of_lengths]
        else:
            outputs = {g.node.index: g.of for g in self.all_gradients if g.kind == "upstream"}
            evaluate_at(self.nodes, values, outputs)
            asked = list(self.premises)
        check_premises(asked, self.nodes, values)
        named = {n.name: values[n.index] for n in self.nodes if n.name and n.role != "constant"}
        return named | {g.name: values[g.node.index] for g in self.gradients}


T = TypeVar("T")


def _called(name: str, named: Mapping[str, T]) -> T | None:
    """Look a name up as it is written, or in letters alone where one name alone is written so."""
    if name in named:
        return named[name]
    alike = [thing for other, thing in named.items() if in_letters(other).replace(".", "_") == name]
    return alike[0] if len(alike) == 1 else None


def _restored(form: dict[str, Any]) -> Graph:
    return Graph(**parts(form))


def _as_input(given: Any, node: Node) -> Any:
    """Give an array of the dtype of an input, made of its like: no label of a bool or a float."""
    array = given if is_foreign(given) else np.asarray(given)
    if any(n != n for n in array.shape):  # nan, where it is not known yet
        raise TypeError(
            f"run: {node.name} has shape {array.shape}, and all lengths must be known; of a dask "
            "array, compute_chunk_sizes() finds them"
        )
    dtype = np.dtype(node.dtype)
    if is_discrete(node):
        both_or_none = (array.dtype.kind == "b") == (dtype.kind == "b")
        fits = both_or_none and np.can_cast(array.dtype, dtype, "same_kind")
    else:
        fits = array.dtype.kind != "c" or dtype.kind in "cO"
    if not fits and 0 not in array.shape:
        raise TypeError(f"run: {node.name} is of {dtype}, but was given {array.dtype}")
    return array if array.dtype == dtype else array.astype(dtype)
