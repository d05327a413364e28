"""A compiled function gives what the function gives, however and by whomever it is called."""

import threading
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from helpers import examples, same_bits
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygraph
from tinygraph import Graph, Tensor, grad, trace

RNG = np.random.default_rng(41)


def array(*shape, dtype=float):
    return RNG.normal(size=shape).astype(dtype)


def batchnorm(x, gamma, beta, eps=1e-5):
    N = x.shape[0]
    mu = 1 / N * np.sum(x, axis=0)
    xmu = x - mu
    var = 1 / N * np.sum(xmu**2, axis=0)
    ivar = 1 / np.sqrt(var + eps)
    xhat = xmu * ivar
    return gamma * xhat + beta


def by_engine(function, arrays, dout, *rest):
    """Give what the engine gives: the result, and the gradients by all arrays of floats."""
    xs = [Tensor(x) if x.dtype.kind in "fcO" else x for x in arrays]
    out = trace(function)(*xs, *rest)
    wrt = [x for x in xs if isinstance(x, Tensor)]
    return out.data, grad(out, wrt, dout)


def check(function, arrays, dout, *rest):
    """Compile a function, and compare two calls with the engine, bit for bit."""
    compiled = tinygraph.compile(function)
    expected, gradients = by_engine(function, arrays, dout, *rest)
    for _ in range(2):
        assert same_bits(compiled(*arrays, *rest), expected)
        out, grads = compiled.vjp(*arrays, *rest, dout=dout)
        assert same_bits(out, expected)
        assert len(grads) == len(gradients)
        for name, g in zip(grads, gradients, strict=True):
            assert same_bits(grads[name], g), name
    return compiled


# --- how arguments lie ----------------------------------------------------------------------------

DTYPES = ["e", "f", "d", "g", "F", "D", ">f8"]


def strided(x, how):
    """Give the same numbers in other memory."""
    if how == "C":
        return np.ascontiguousarray(x)
    if how == "F":
        return np.asfortranarray(x)
    if how == "apart":
        wide = np.zeros((*x.shape, 2), x.dtype)
        wide[..., 0] = x
        return wide[..., 0]
    if how == "reversed":
        return np.ascontiguousarray(x[::-1])[::-1]
    if how == "unaligned":
        memory = np.zeros(x.nbytes + 1, np.uint8)[1:]
        found = memory.view(x.dtype).reshape(x.shape)
        found[...] = x
        return found
    locked = x.copy()
    locked.flags.writeable = False
    return locked


@pytest.mark.parametrize("how", ["C", "F", "apart", "reversed", "unaligned", "read-only"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_memory_and_dtypes_give_the_bits_of_the_engine(how, dtype):
    x = strided(array(9, 5).astype(dtype), how)
    gamma, beta, dout = array(5).astype(dtype), array(5).astype(dtype), array(9, 5).astype(dtype)
    dout = dout.astype(dout.dtype.newbyteorder("="))
    check(batchnorm, [x, gamma, beta], dout)


SHAPES = [(1, 1), (1, 5), (3, 1), (4, 4), (64, 64), (0, 3), (3, 0), (65, 7), (200, 33), (7, 1000)]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["f", "d"])
def test_shapes(shape, dtype):
    N, D = shape
    if N:
        arrays = [array(N, D, dtype=dtype), array(D, dtype=dtype), array(D, dtype=dtype)]
        check(batchnorm, arrays, array(N, D, dtype=dtype))
    x, y = array(N, D, dtype=dtype), array(1, D, dtype=dtype)
    check(
        lambda x, y: np.exp(x - y) * np.sum(x, axis=1, keepdims=True),
        [x, y],
        array(N, D, dtype=dtype),
    )


def test_an_array_that_lies_otherwise_has_a_form_of_its_own_and_the_first_stays():
    f = tinygraph.compile(batchnorm)
    gamma, beta, dout = array(33), array(33), array(64, 33)
    x = array(64, 33)
    for how in ("C", "F", "apart", "C", "F"):
        here = strided(x, how)
        expected, gradients = by_engine(batchnorm, [here, gamma, beta], dout)
        out, grads = f.vjp(here, gamma, beta, dout=dout)
        assert same_bits(out, expected)
        assert all(map(same_bits, grads.values(), gradients))
