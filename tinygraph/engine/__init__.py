"""The engine: build graphs of NumPy code, and differentiate them.

In the order in which to read it:

- `primitive`: what a row of the table of primitives says; everything else follows from the rows.
- `foreign`: arrays that are not NumPy's and answer its functions themselves.
- `ops`: the rows.
- `recording`: whether operations are recorded, here and now.
- `lengths`: numbers that remember which axis they count.
- `functions`: NumPy's functions, composed of primitives.
- `library`: NumPy's functions beyond the first few, by subject: `scans`, `contractions`,
  `elementwise`, `joining`, `shaping`, `linear_algebra`, `reductions`, and SciPy's `special` ones.
- `methods`: what an array's methods are.
- `alternatives`: what to write instead of what is not supported.
- `operators`: how a person writes an operation, turned into calls of one method.
- `arrays`: what a graph may hold, and that nobody changes it.
- `autodiff`: the sweep that carries gradients back.
- `tensor`: the node that computes.
- `effects`: what a function does beside its result.
- `stacking`: lists of tensors where NumPy takes an array.
- `mutation`: in-place code as pure values, in `places`, `values`, `keys`, `facades`, `cells`,
  `handles`, `handle_functions` and `adopting`.
- `notes`: what the code that is traced was told of its inputs.
- `sources`: which numbers stand in the code that is traced.
- `constants`: what the code that is traced calls its numbers.
- `tracing`: names from the user's own variables.
- `anomaly`: stop at the first nan or inf.
- `pickling`: copies and pickles, without recursion.

It knows of no tool that is built on it.
"""

import tinygraph.engine.pickling  # noqa: F401 - from here on tensors can be copied and pickled
from tinygraph.engine.anomaly import detect_anomaly
from tinygraph.engine.recording import no_grad
from tinygraph.engine.tensor import Tensor, grad
from tinygraph.engine.tracing import trace

__all__ = ["Tensor", "detect_anomaly", "grad", "no_grad", "trace"]
