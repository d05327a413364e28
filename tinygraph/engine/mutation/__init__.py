"""In-place code as pure values: what `trace` shows a function instead of its arrays.

A graph records values, and people write to places: ``out[i] = …``, ``x -= x.mean(axis=0)``. Inside
a traced call an array is a *handle* on a place, and writing gives the place another value, a
recorded one. Two names of one array are one handle, and a view is a handle on part of the same
place; so whoever reads sees what NumPy would show, and the graph has no mutation in it.

In the order in which to read it:

- `places`: which entries of an array a view shows, as a key for the array.
- `values`: what is written, as it fits into a place.
- `keys`: with what is read and written, also where it was computed.
- `facades`: a Tensor that stands for another one, which may change.
- `cells`: a place: its value, and what was written and not yet recorded.
- `handles`: what the traced function sees.
- `handle_functions`: NumPy's functions on handles: which of them view, and which of them write.
- `adopting`: which arrays that a function makes become handles, and what is handed out at the end.
"""

from tinygraph.engine.mutation.adopting import Session
from tinygraph.engine.mutation.handles import STAYED_PLAIN, Array

__all__ = ["STAYED_PLAIN", "Array", "Session"]
