"""NumPy source of the functions of the library: bit for bit what the engine computes."""

import numpy as np
import pytest
from helpers import same_bits
from library import CALLS, arrays_of, evaluated, spelled

from tinygraph import Graph, Tensor, derive
from tinygraph.writing.numpy_module import emit

# What is joined into one output is written and run; a constant has no source.
SMOOTH = [call for call in spelled(CALLS) if "matrix_power(M, 0" not in call]


def joined(call, operands):
    """Give all results of a call as one vector, which is a function of all operands."""
    results = [np.reshape(one, -1) for one in evaluated(call, operands)]
    return np.concatenate(results) if len(results) > 1 else results[0] * 1.5


@pytest.mark.parametrize(
    "call",
    [c if k % 6 == 0 else pytest.param(c, marks=pytest.mark.slow) for k, c in enumerate(SMOOTH)],
)
def test_the_source_computes_what_the_engine_computes(call):
    arrays = arrays_of(call)
    with np.errstate(all="ignore"):
        tensors = {name: Tensor(x, name=name) for name, x in arrays.items()}
        out = joined(call, tensors)
        if not isinstance(out, Tensor):
            return
        graph = Graph.joint(out)
        inputs = [node for node in graph.inputs if node.role == "input"]
        namespace = {}
        exec(emit(graph, inputs), namespace)
        dout = np.random.default_rng(5).normal(size=out.shape)
        given = [arrays[node.name] for node in inputs]
        result, cache = namespace["forward"](*given)
        out.backward(dout)
        gradients = namespace["backward"](dout, cache)
    assert same_bits(result, out.data)
    for node, g in zip(inputs, gradients, strict=True):
        assert same_bits(np.asarray(g), np.asarray(tensors[node.name].grad))
    for language in ("text", "latex", "markdown"):
        assert derive(out, format=language)
