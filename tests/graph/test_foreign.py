"""Arrays that speak NumPy's protocols run through graphs and modules; nobody looks into them."""

import numpy as np
import passes
import pytest
from ducks import Duck, opened
from helpers import examples, same_bits
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import ANALYTIC, KINKED, execute, programs

from tinygraph import Graph, Tensor, batchnorm, derive, ops, trace
from tinygraph.engine.foreign import is_foreign

RNG = np.random.default_rng(5)
X, DOUT, GAMMA, BETA = (RNG.normal(size=shape) for shape in ((6, 3), (6, 3), 3, 3))


@pytest.fixture(autouse=True)
def nobody_looks_into_a_duck():
    Duck.pulled = 0
    yield
    assert Duck.pulled == 0


def staged(axis=0, dtype=np.float64):
    x, gamma, beta = (a.astype(dtype) for a in (X, GAMMA, BETA))
    return trace(batchnorm.staged)(x, gamma, beta, eps=1e-5, axis=axis)


def ducks(arrays):
    return {name: Duck(a) for name, a in arrays.items()}


def agree(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert is_foreign(found[name]), name
        assert same_bits(opened(found[name]), value), name


@pytest.mark.parametrize("rows", [6, 9])
@pytest.mark.parametrize("axis", [0, -1])
def test_a_graph_runs_on_foreign_arrays_also_at_other_lengths(rows, axis):
    graph = Graph.joint(staged(axis))
    rng = np.random.default_rng(rows)
    arrays = {n.name: rng.normal(size=(rows, 3) if n.shape == (6, 3) else 3) for n in graph.inputs}
    agree(graph.run(**ducks(arrays)), graph.run(**arrays))


def test_float16_is_added_up_as_numpys_is():
    graph = Graph.joint(staged(dtype=np.float16))
    arrays = {"x": X, "gamma": GAMMA, "beta": BETA, "dout": DOUT}
    agree(graph.run(**ducks(arrays)), graph.run(**arrays))


@settings(max_examples=examples(100), deadline=None)
@given(program=programs(ANALYTIC | KINKED), seed=st.integers(0, 2**32 - 1))
def test_a_random_graph_gives_the_same_bits_or_names_what_it_cannot_do(program, seed):
    rng = np.random.default_rng([program[2], seed])
    leaves = [Tensor(rng.normal(size=shape), name=f"v{k}") for k, shape in enumerate(program[0])]
    graph = Graph.joint(execute(program, leaves, ANALYTIC | KINKED))
    arrays = {str(n.name): np.asarray(rng.normal(size=n.shape)) for n in graph.inputs}
    with np.errstate(all="ignore"):
        expected = graph.run(**arrays)
        try:
            found = graph.run(**ducks(arrays))
        except TypeError as error:
            assert "scatter" in str(error)  # noqa: PT017 - it need not be raised
            assert "would be pulled into memory" in str(error)  # noqa: PT017
            return
    for name, value in expected.items():
        # NumPy computes a power of a scalar otherwise than that of an array without axes
        a, b = opened(found[name]), np.asarray(value)
        assert same_bits(a, b) or (b.ndim < 2 and np.allclose(a, b, 1e-14, 1e-14)), name


@pytest.mark.parametrize("axis", [0, -1])
def test_the_module_that_is_written_runs_on_foreign_arrays(axis):
    module = {}
    exec(derive(staged(axis), format="python"), module)
    out, cache = module["forward"](Duck(X), Duck(GAMMA), Duck(BETA))
    gradients = module["backward"](Duck(DOUT), cache)
    expected, kept = module["forward"](X, GAMMA, BETA)
    assert same_bits(opened(out), expected)
    wanted = module["backward"](DOUT, kept)
    assert [same_bits(opened(g), w) for g, w in zip(gradients, wanted, strict=True)] == [True] * 3


def test_batchnorm_as_one_node_and_its_module():
    tensors = (Tensor(a, name=n) for a, n in ((X, "x"), (GAMMA, "gamma"), (BETA, "beta")))
    out = batchnorm.normalize(*tensors)
    arrays = {"x": X, "gamma": GAMMA, "beta": BETA}
    graph, module = Graph.capture(out), {}
    agree({"out": graph.run(**ducks(arrays))["out"]}, {"out": graph.run(**arrays)["out"]})
    exec(derive(out, format="python"), module)
    found = module["forward"](Duck(X), Duck(GAMMA), Duck(BETA))[0]
    assert same_bits(opened(found), module["forward"](X, GAMMA, BETA)[0])


def test_the_closed_form_and_the_jacobian():
    found = batchnorm.closed_form(Duck(X), Duck(GAMMA), Duck(DOUT))
    for a, b in zip(found, batchnorm.closed_form(X, GAMMA, DOUT), strict=True):
        assert np.allclose(opened(a), b, 1e-13, 1e-13)  # einsum adds up in another order
    assert same_bits(opened(batchnorm.jacobian(Duck(X), Duck(GAMMA))), batchnorm.jacobian(X, GAMMA))


def test_what_the_code_was_told_is_asked_for_as_one_bool():
    def f(x):
        k = int(np.argmax(x[:, 0]))
        return x * (k + 1)

    graph, module = Graph.capture(trace(f)(X)), {}
    exec(derive(trace(f)(X), format="python"), module)
    same, other = X.copy(), X[::-1].copy()
    assert same_bits(opened(graph.run(x=Duck(same))["out"]), f(same))
    assert same_bits(opened(module["forward"](Duck(same))[0]), f(same))
    with pytest.raises(ValueError, match="when the graph was captured"):
        graph.run(x=Duck(other))
    with pytest.raises(ValueError, match="another value was read"):
        module["forward"](Duck(other))


TENSOR = Tensor(X, name="t")
REFUSED = {
    "tensor": Tensor,
    "staged": lambda d: batchnorm.staged(d, GAMMA, BETA),
    "one node": lambda d: batchnorm.normalize(d, GAMMA, BETA),
    "product": lambda d: TENSOR * d,
    "product from the left": lambda d: d * TENSOR,
    "matmul": lambda d: TENSOR.T @ d,
    "ufunc": lambda d: np.add(TENSOR, d),
    "function": lambda d: np.concatenate([TENSOR, d]),
    "method": lambda d: TENSOR.T.dot(d),
    "new data": lambda d: setattr(Tensor(X), "data", d),
    "upstream": lambda d: (Tensor(X) * 1).backward(d),
    "traced": lambda d: trace(passes.relu_forward)(d),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_tensor_is_of_numpys_arrays_and_the_way_out_is_named(name):
    with pytest.raises(TypeError, match=r"ducks\.Duck.*pulled into memory.*graph\.run\(x=…\)"):
        REFUSED[name](Duck(X))


def test_what_writes_into_places_is_refused_with_the_step():
    graph = Graph.joint(Tensor(X, name="x")[np.array([0, 0, 2])])
    with pytest.raises(TypeError, match=r"^run: step 1 \(dx\) cannot be computed: scatter: .*Duck"):
        graph.run(x=Duck(X), dout=Duck(X[:3]))


def test_a_primitive_of_ones_own_that_looks_inside_is_named():
    peep = ops.Primitive("peep", "peep", lambda x: opened(x) * 2, lambda g, out, x: 2 * g)
    try:
        graph = Graph.capture(peep(Tensor(X, name="x")))
        with pytest.raises(TypeError, match="peep makes an array of NumPy's of a Duck"):
            graph.run(x=Duck(X))
    finally:
        del ops.TABLE["peep"]


def test_shapes_and_dtypes_are_asked_for_as_ever():
    graph = Graph.joint(staged())
    arrays = ducks({"x": X, "gamma": GAMMA, "beta": BETA, "dout": DOUT})
    with pytest.raises(ValueError, match=r"x has shape \(3,\), but was captured with \(6, 3\)"):
        graph.run(**arrays | {"x": Duck(GAMMA)})
    with pytest.raises(TypeError, match="x is of float64, but was given complex128"):
        graph.run(**arrays | {"x": Duck(X * 1j)})
    with pytest.raises(ValueError, match="dout has shape"):
        graph.run(**arrays | {"dout": Duck(DOUT[:4])})

    class Unknown(Duck):
        shape = property(lambda self: (float("nan"), 3))

    with pytest.raises(TypeError, match=r"x has shape \(nan, 3\), and all lengths must be known"):
        graph.run(**arrays | {"x": Unknown(X)})
    halves = {name: Duck(opened(a).astype(np.float32)) for name, a in arrays.items()}
    assert graph.run(**halves)["dx"].dtype == np.float64


def test_dask_arrays_stay_lazy():
    da = pytest.importorskip("dask.array", reason="dask is in the extra tinygraph[blocks]")
    from dask.base import is_dask_collection

    rng = np.random.default_rng(2)
    arrays = {"gamma": GAMMA, "beta": BETA, "x": rng.normal(size=(50, 3)), "dout": X[:1] * 2}
    arrays["dout"] = rng.normal(size=(50, 3))
    lazy = {k: da.from_array(a, chunks=(7, 3)[: a.ndim]) for k, a in arrays.items()}
    graph, module = Graph.joint(staged()), {}
    found, expected = graph.run(**lazy), graph.run(**arrays)
    for name, value in expected.items():
        assert is_dask_collection(found[name])
        assert np.allclose(found[name].compute(scheduler="sync"), value, 1e-12, 1e-12), name
    exec(derive(trace(passes.batchnorm_forward)(X, GAMMA, BETA, 1e-5)[0], format="python"), module)
    small = {k: a[:6] for k, a in lazy.items()}
    out, cache = module["forward"](small["x"], GAMMA, BETA)
    dx, dgamma, dbeta = module["backward"](small["dout"], cache)
    assert all(map(is_dask_collection, (out, dx, dgamma, dbeta)))
    with pytest.raises(TypeError, match=r"dask\.array\.core\.Array.*would be pulled into memory"):
        batchnorm.staged(lazy["x"], GAMMA, BETA)


def test_inserted_axes_are_no_places():
    graph = Graph.joint(Tensor(X, name="x")[:, None, ..., None] * Tensor(GAMMA[:, None], name="g"))
    arrays = {n.name: RNG.normal(size=n.shape) for n in graph.inputs}
    agree(graph.run(**ducks(arrays)), graph.run(**arrays))
