"""`Kernel`: a program in C, which is called as every executor is.

What C does not do, NumPy does between two of its functions: products of matrices above all. In
**strict** code these are also the functions that C's library rounds otherwise than NumPy, as exp.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from tinygraph.engine.arrays import owner
from tinygraph.execution.c_program import written
from tinygraph.execution.calling import Layout
from tinygraph.execution.compilation import FLAGS, loaded
from tinygraph.execution.program import Program, Unsupported
from tinygraph.execution.regions import Foreign, Region
from tinygraph.execution.stitching import RegionCall, Stitched, layout_of

__all__ = ["Kernel"]


class Kernel:
    """A program compiled to C, for arrays of one layout.

    Parameters
    ----------
    program : Program
    arrays : sequence of arrays
        One for each argument; what is called later has their shapes and dtypes.
    mode : str
        ``strict``: the bits of NumPy; or ``fast``: fewer sweeps, sums in another order, and exp,
        log and tanh of its own, within `tinygraph.execution.c_functions.BOUNDS`.

    Attributes
    ----------
    source : str
        The C text, the same for all lengths.
    executor : str
        The mode.
    plan : Plan

    Raises
    ------
    Unsupported
        If there is no compiler; if nothing of the program is compiled; if an array is not
        contiguous, or its dtype is not compiled; or if an axis is empty.

    Notes
    -----
    What C computes gives no warnings of NumPy's, whatever `numpy.errstate` says.

    Examples
    --------
    >>> import tinygraph
    >>> from tinygraph.execution.program import Program
    >>> x, w = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([10.0, 100.0])
    >>> program = Program.of(tinygraph.Graph.joint(tinygraph.trace(lambda x, w: x * w)(x, w)))
    >>> try:
    ...     out, dx, dw = Kernel(program, [x, w, x], "strict")(x, w, x)
    ... except Unsupported:  # there is no compiler
    ...     out, dx, dw = x * w, x * w, np.sum(x * x, axis=0)
    >>> out, dx, dw
    (array([[ 10., 200.],
           [ 30., 400.]]), array([[ 10., 200.],
           [ 30., 400.]]), array([10., 20.]))
    """

    why: ClassVar[str] = ""

    def __init__(self, program: Program, arrays: Sequence[Any], mode: str) -> None:
        if mode not in FLAGS:
            raise ValueError(f"mode is {mode!r}, but must be one of {', '.join(FLAGS)}")
        self.executor = mode
        self.plan, regions, texts, symbols, self.source = written(program, mode)
        given = {x.index: array for x, array in zip(program.arguments, arrays, strict=True)}
        for region in regions:
            _check(region, given)
        functions = loaded(self.source, mode=mode, symbols=symbols)
        calls = iter([RegionCall(*of) for of in zip(functions, regions, texts, strict=True)])
        parts = [part if isinstance(part, Foreign) else next(calls) for part in self.plan.parts]
        self._stitched = Stitched(program, parts, arrays, mode == "strict")
        self._run = self._stitched.run
        self._wanted = [layout_of(x) for x in program.results]

    @property
    def nbytes(self) -> int:
        """How much memory a call holds beside its results."""
        return self._stitched.nbytes

    def __call__(self, *arguments: Any, out: Sequence[Any] | None = None) -> tuple[Any, ...]:
        """Compute the results. Any number of threads may do so at a time.

        Parameters
        ----------
        *arguments : arrays
            Of the layouts that this was made for.
        out : sequence of arrays or None, optional
            What to write the results into; None where an array is to be new.

        Returns
        -------
        tuple of arrays
            And NumPy scalars, where there are no axes.

        Raises
        ------
        ValueError
            If an array has another shape or dtype, or is not contiguous.
        """
        if out is None:
            return self._run(*arguments)  # type: ignore[no-any-return]
        if len(out) != len(self._wanted):
            raise ValueError(f"out must have {len(self._wanted)} entries, not {len(out)}")
        places = self._placed(arguments, out)
        results = self._stitched.run_into(places, *arguments)
        of = zip(results, out, self._wanted, strict=True)
        return tuple([_copied(*one) for one in of])

    def again(self, kept: Sequence[Any], *arguments: Any) -> tuple[Any, ...]:
        """Compute into results of an earlier call that nobody holds any more; None where new."""
        places = [
            np.empty(*layout) if x is None else x
            for x, layout in zip(kept, self._wanted, strict=True)
        ]
        return self._stitched.run_into(places, *arguments)  # type: ignore[no-any-return]

    def _placed(self, arguments: Sequence[Any], out: Sequence[Any]) -> list[Any]:
        """Give where C writes: the arrays that are given, if they are free for it."""
        met = [x for x in arguments if isinstance(x, np.ndarray)]
        owners = [owner(x) for x in met]
        places: list[Any] = []
        for given, layout in zip(out, self._wanted, strict=True):
            is_fit = type(given) is np.ndarray and (given.shape, given.dtype) == layout
            if is_fit and given.flags.carray and not _shares(given, met, owners):
                places.append(given)
            else:
                places.append(np.empty(*layout))
            met.append(places[-1])
            owners.append(owner(places[-1]))
        return places


def _shares(array: Any, others: Sequence[Any], owners: Sequence[Any]) -> bool:
    """Whether an array may share memory with others: most have another owner, which is seen."""
    own = owner(array)
    suspects = zip(others, owners, strict=True)
    return any(
        np.may_share_memory(array, x)
        for x, at in suspects
        if at is own or at.base is not None or own.base is not None
    )


def _check(region: Region, given: Mapping[int, Any]) -> None:
    """Refuse arrays that C does not read, and lengths of which it would make nothing."""
    if empty := [label for label in region.labels if label.length == 0]:
        raise Unsupported(f"axis {empty[0].name} is empty")
    for x in region.arguments:
        array = given.get(x.node.index) if x.node is not None else None
        if array is None or not np.ndim(array):
            continue
        if type(array) is not np.ndarray or not (array.flags.c_contiguous and array.flags.aligned):
            raise Unsupported(f"{x.name or 'an argument'} is no contiguous array in C order")


def _copied(result: Any, given: Any, layout: Layout) -> Any:
    """Give a result in the array that was given for it."""
    if given is None or given is result:
        return result
    if not isinstance(given, np.ndarray) or (given.shape, given.dtype) != layout:
        raise ValueError(f"out must be an array of shape {layout.shape} and dtype {layout.dtype}")
    given[...] = result
    return given
