"""`prove`: what is right is proved for all lengths, what is wrong refuted, and no more is said."""

import ast
import inspect
import random
import textwrap
import time

import numpy as np
import passes
import pytest
from passes import EPS, RIGHT, arguments

import tinygraph
from tinygraph import prove
from tinygraph.algebra.atoms import Atom
from tinygraph.algebra.numbers import Values
from tinygraph.algebra.pairs import Code
from tinygraph.algebra.polynomials import Algebra
from tinygraph.batchnorm.formulas import differentiate, layout, staged

SLOW = {"groupnorm", "lstm"}
MARKED = [pytest.param(k, marks=[pytest.mark.slow] if k in SLOW else []) for k in RIGHT]
HERE = "proved at these lengths"


def batch(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape), rng.normal(size=shape[-1]), rng.normal(size=shape[-1])]


def proof_of(name):
    forward, backward, shapes, others = RIGHT[name]
    return prove(forward, backward, *arguments(shapes, others), limit_s=60)


@pytest.mark.parametrize("name", MARKED)
def test_right_backward_passes_are_proved(name):
    proof = proof_of(name)
    code = {"groupnorm": HERE}.get(name, "proved")
    assert proof.verdict == code, str(proof)
    assert set(proof.gradients.values()) == {code}
    assert proof.first_wrong is None
    assert proof.counterexample is None
    assert proof.remainder == proof.reason == ""
    assert proof.missing == ()


@pytest.mark.parametrize("shape", [(64, 64), (2, 2), (2, 100)])
def test_the_closed_form_holds_for_all_lengths_wherever_it_is_called(shape):
    proof = prove(passes.batchnorm_forward, passes.batchnorm_closed, *batch(*shape), EPS)
    assert proof.verdict == "proved"
    assert proof.lengths == {"N": "free", "D": "free"}
    assert proof.assumptions == ("var + eps > 0",)
    assert str(proof).splitlines()[0] == "proved for all N and D: dx, dgamma, dbeta"


def with_d_for_n(dout, cache):
    xhat, gamma, _, ivar, *_ = cache
    D = dout.shape[1]
    dbeta = dout.sum(axis=0)
    dgamma = (dout * xhat).sum(axis=0)
    dx = gamma * ivar * (dout - dbeta / D - xhat * dgamma / D)
    return dx, dgamma, dbeta


def test_one_length_in_the_place_of_another():
    proof = prove(passes.batchnorm_forward, with_d_for_n, *batch(64, 64), EPS)
    assert proof.gradients == {"dx": HERE, "dgamma": "proved", "dbeta": "proved"}
    assert {name: why.split(":")[0] for name, why in proof.lengths.items()} == {
        "N": "64",
        "D": "64",
    }
    proof = prove(passes.batchnorm_forward, with_d_for_n, *batch(2, 100), EPS)
    assert proof.gradients["dx"] == "refuted"


def with_64(dout, cache):
    xhat, gamma, _, ivar, *_ = cache
    dbeta = dout.sum(axis=0)
    dgamma = (dout * xhat).sum(axis=0)
    dx = gamma * ivar * (1 / 64) * (64 * dout - dbeta - xhat * dgamma)
    return dx, dgamma, dbeta


@pytest.mark.parametrize("shape", [(64, 64), (64, 3)])
def test_a_length_that_is_written_into_the_code(shape):
    proof = prove(passes.batchnorm_forward, with_64, *batch(*shape), EPS)
    assert proof.verdict == HERE
    assert proof.lengths["N"].startswith("64: ")
    assert proof.lengths["D"] == "free"
    assert proof.extents == {
        "dx": "for all D",
        "dgamma": "for all N and D",
        "dbeta": "for all N and D",
    }
    proof = prove(passes.batchnorm_forward, with_64, *batch(32, 3), EPS)
    assert proof.verdict == "refuted"


def test_the_variance_over_n_where_the_forward_pass_has_n_minus_1():
    def backward(dout, cache):
        return passes.normalized_backward(dout, cache)

    proof = prove(passes.unbiased_forward, backward, *batch(6, 4))
    assert proof.gradients == {"dx": "refuted", "dgamma": "proved", "dbeta": "proved"}


def branching(dout, cache):
    if len(dout) != 6:
        return tuple(2 * g for g in passes.batchnorm_closed(dout, cache))
    return passes.batchnorm_closed(dout, cache)


def test_code_that_branches_on_a_length_is_proved_at_that_length():
    proof = prove(passes.batchnorm_forward, branching, *batch(6, 4), EPS)
    assert proof.verdict == HERE
    assert proof.lengths["N"] == "6: the code does other things at others"
    assert proof.lengths["D"] == "free"


def test_code_that_branches_at_a_length_far_away_is_not_proved_for_all():
    def forward(x):
        out = x * 2
        return out

    def backward(dout, x):
        return dout * 5 if len(x) > 1000 else dout * 2

    assert prove(forward, backward, np.ones((4, 3))).lengths["N"].startswith("4: ")

    def asking(x):
        out = x * 2 if x.shape[0] < 5000 else x * 3
        return out

    proof = prove(asking, lambda dout, x: dout * 2, np.ones((4, 3)))
    assert (proof.verdict, proof.assumptions) == ("proved", ("N < 5000",))


@pytest.mark.parametrize(
    ("key", "verdict"),
    [
        ("np.arange(N), y", "proved"),
        ("np.arange(N), np.arange(N) % 4", "refuted"),
        ("np.arange(N), np.sort(y)", "refuted"),
        ("np.arange(N), 0", "refuted"),
    ],
)
def test_labels_are_any_labels(key, verdict):
    """With labels in order at the call, the numbers agree with more than what is right."""
    source = inspect.getsource(passes.labels_in_place).replace("np.arange(N), y", key)
    space = {"np": np}
    exec(source, space)
    x, y = np.arange(24.0).reshape(6, 4) / 7, np.arange(6) % 4
    proof = prove(passes.labels_forward, space["labels_in_place"], x**2, y)
    assert proof.verdict == verdict


def test_labels_in_a_list_are_as_many_as_there_are_rows():
    x = np.arange(24.0).reshape(6, 4) ** 2
    proof = prove(passes.labels_forward, passes.labels_in_place, x, [0, 3, 1, 1, 2, 0])
    assert str(proof) == "proved for all N and D: dz"


def test_a_batch_of_one_is_said_to_be_one():
    """A mean over one row is the row, and its gradient is right without 1/N, but only there."""
    one = np.arange(4.0).reshape(1, 4)
    proof = prove(spread_mean, lambda dout, cache: dout + 0 * cache[0], one)
    assert proof.verdict == "proved"
    assert proof.lengths == {"D": "free"}
    assert proof.assumptions == ("x.shape[0] = 1",)


def test_a_mask_that_happens_to_be_ones_is_no_number():
    def forward(x):
        mask = np.where(np.arange(x.size).reshape(x.shape) < 100, 1.0, 2.0)
        return x * mask, mask

    proof = prove(forward, lambda dout, cache: dout * 1.0, np.ones((6, 4)))
    assert proof.verdict in ("undecided", HERE)


def test_what_an_operation_asks_of_lengths_is_no_assumption():
    def forward(x, w):
        rows = x.reshape(x.shape[0], -1)
        return rows @ w, (x, rows, w)

    def backward(dout, cache):
        x, rows, w = cache
        return (dout @ w.T).reshape(x.shape), rows.T @ dout

    proof = prove(forward, backward, np.ones((3, 2, 5)), np.ones((10, 4)))
    assert (proof.verdict, proof.assumptions) == ("proved", ())


def test_a_sum_that_is_not_complete_yet_is_not_wrong():
    def forward(x):
        centered = x - np.mean(x, axis=0)
        return centered * np.tanh(centered), centered

    def backward(dout, centered):
        t = np.tanh(centered)
        dcentered = dout * t
        dcentered = dcentered + dout * centered * (1 - t**2)
        dmean = -dcentered.mean(axis=0)
        return dcentered + dmean / len(dout)

    wrong = prove(forward, backward, np.arange(24.0).reshape(6, 4) ** 1.5).first_wrong
    assert wrong.name != "dcentered"


def spread_mean(x):
    return np.mean(x, axis=0), (x,)


def with_factor(factor):
    """Give the backward pass of a mean, with a factor that is 1 at the lengths of the call."""

    def backward(dout, cache):
        (x,) = cache
        spread = np.broadcast_to(dout, x.shape)
        return spread / x.shape[0] * factor(x, *x.shape)

    return backward


@pytest.mark.parametrize(
    ("factor", "assumption"),
    [
        (lambda x, N, D: 2 if N == 500 else 1, "N ≠ 500"),
        (lambda x, N, D: 2 if N == D else 1, "N ≠ D"),
        (lambda x, N, D: 2 if N % 8 == 0 else 1, "N % 8 ≠ 0"),
        (lambda x, N, D: 1 + (N % 8 == 0), "N % 8 ≠ 0"),
        (lambda x, N, D: 2 if D > 2000 else 1, "D <= 2000"),
        (lambda x, N, D: 2 if x.size > 10**7 else 1, "N · D <= 10000000"),
        (lambda x, N, D: N / min(N, 5000), "N <= 5000"),
    ],
)
def test_what_a_backward_pass_asks_of_lengths_is_assumed(factor, assumption):
    proof = prove(spread_mean, with_factor(factor), np.arange(24.0).reshape(6, 4) ** 2)
    assert proof.verdict == "proved"
    assert proof.assumptions == (assumption,)


@pytest.mark.parametrize(
    "factor",
    [lambda x, N, D: N / max(N, 1), lambda x, N, D: 2 if N < 1 else 1, lambda x, N, D: 1.0],
)
def test_what_is_so_at_all_lengths_is_no_assumption(factor):
    proof = prove(spread_mean, with_factor(factor), np.arange(24.0).reshape(6, 4) ** 2)
    assert (proof.verdict, proof.assumptions) == ("proved", ())


@pytest.mark.parametrize(
    "factor",
    [
        lambda x, N, D: 1 + (N - 6) * (N - 5) * (N - 7) * (N - 11) * (N - 13) * (N - 1009),
        lambda x, N, D: N / (N + N // 5000),
    ],
)
def test_what_agrees_at_the_lengths_that_were_tried_is_not_proved_for_all(factor):
    proof = prove(spread_mean, with_factor(factor), np.arange(24.0).reshape(6, 4) ** 2)
    assert proof.verdict == HERE
    assert proof.lengths["N"].startswith("6: ")


@pytest.mark.parametrize(
    "factor",
    [
        lambda x, N, D: 2 if np.max(x.data) > 1e6 else 1,
        lambda x, N, D: 2 if np.any(x > 1e6) else 1,
        lambda x, N, D: 2 if x[0, 0] > 1e6 else 1,
        lambda x, N, D: 2 if x[0, 0].item() > 1e6 else 1,
    ],
)
def test_code_that_reads_values_is_undecided(factor):
    proof = prove(spread_mean, with_factor(factor), np.arange(24.0).reshape(6, 4) ** 2)
    assert proof.verdict == "undecided"
    assert proof.reason.startswith("the code reads values of x")


@pytest.mark.parametrize("bits", [40, 46, 50])
def test_a_root_of_a_length_is_exact(bits):
    def forward(x):
        return x / np.sqrt(x.shape[1])

    def backward(dout, x):
        return dout * ((1 + 2.0**-bits) / np.sqrt(x.shape[1]))

    assert prove(forward, backward, np.arange(24.0).reshape(6, 4)).verdict == "refuted"


def test_the_closed_form_of_the_package_is_that_of_its_staged_pass():
    def backward(dout, x, gamma, beta):
        return differentiate(dout, x, gamma, layout(x, gamma, beta, EPS, 0), EPS)

    def forward(x, gamma, beta):
        out = staged(x, gamma, beta, eps=EPS)
        return out

    proof = prove(forward, backward, *batch(7, 3))
    assert proof.verdict == "proved"


# --------------------------------------------------------------------------- what is wrong


def changed(old, new, function=passes.batchnorm_staged):
    """Give the function with one piece of its text replaced."""
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(old) == 1, old
    names = dict(vars(passes))
    exec(source.replace(old, new), names)
    return names[function.__name__]


@pytest.mark.parametrize(
    ("old", "new", "wrong", "cause"),
    [
        ("0.5 * 1.0 / np.sqrt", "1.0 / np.sqrt", "dvar", "2 times the gradient of var"),
        ("dsq = 1.0 / N * np", "dsq = 1.0 * np", "dsq", "6 times the gradient of sq"),
        ("dmu = -1 * np", "dmu = np", "dmu", "-1 times the gradient of mu"),
        ("dx = dx1 + dx2", "dx = dx1", "dx", "dx lacks dx2"),
        ("dxhat * xmu, axis", "dxhat * xhat, axis", "divar", ""),
    ],
)
def test_the_first_wrong_line_is_named(old, new, wrong, cause):
    proof = prove(passes.batchnorm_forward, changed(old, new), *batch(6, 4), EPS)
    assert proof.verdict == "refuted"
    assert proof.gradients["dbeta"] == "proved"
    assert proof.first_wrong.name == wrong
    assert proof.first_wrong.cause == cause
    assert wrong in str(proof.first_wrong)


def off_by(factor):
    def backward(dout, cache):
        dx, dgamma, dbeta = passes.batchnorm_closed(dout, cache)
        return dx * factor, dgamma, dbeta

    return backward


@pytest.mark.parametrize("factor", [1 + 2.0**-40, 1 - 2.0**-50, 0.5, -1])
def test_a_factor_is_refuted_however_near_to_1(factor):
    proof = prove(passes.batchnorm_forward, off_by(factor), *batch(6, 4), EPS)
    assert proof.gradients == {"dx": "refuted", "dgamma": "proved", "dbeta": "proved"}
    example = proof.counterexample
    assert example.found == pytest.approx(example.expected * factor, rel=1e-15, abs=0)
    x = example.inputs["x"]
    assert np.array_equal(x, batch(6, 4)[0])


def test_one_path_alone_that_is_a_billionth_off_is_refuted():
    backward = changed("dx = dx1 + dx2", "dx = dx1 + (1 + 2.0**-30) * dx2")
    proof = prove(passes.batchnorm_forward, backward, *batch(6, 4), EPS)
    assert proof.gradients["dx"] == "refuted"


@pytest.mark.parametrize(
    ("forward", "backward", "verdicts"),
    [
        (lambda x: x * x / x, lambda dout, x: dout * x / x, {"proved"}),
        (lambda x: np.sqrt(x**2), lambda dout, x: dout, {"refuted"}),
        (lambda x: np.sqrt(x**2), lambda dout, x: dout * np.sign(x), {"proved"}),
        (
            lambda x: np.maximum(x, 0),
            lambda dout, x: dout * (0.5 + 0.5 * np.sign(x)),
            {"refuted", "undecided"},
        ),
        (lambda x: np.maximum(x, 0), lambda dout, x: dout * (x >= 0), {"refuted"}),
        (lambda x: np.maximum(x, 0), lambda dout, x: np.where(x > 0, dout, 0), {"proved"}),
        (lambda x: abs(x), lambda dout, x: dout * np.where(x > 0, 1.0, -1.0), {"refuted"}),
        (lambda x: x / 3, lambda dout, x: dout * (1 / 3), {"proved"}),
        (lambda x: 0.1 * x, lambda dout, x: dout / 10, {"proved"}),
        (lambda x: np.exp(x) ** 2, lambda dout, x: 2 * dout * np.exp(2 * x), {"proved"}),
        (lambda x: np.log(x * x), lambda dout, x: 2 * dout / x, {"proved"}),
        (lambda x: x**3, lambda dout, x: 3 * dout * x**2, {"proved"}),
        (lambda x: np.sin(x), lambda dout, x: dout * np.cos(x), {"proved"}),
        (lambda x: np.sin(x), lambda dout, x: dout * np.sqrt(1 - np.sin(x) ** 2), {"refuted"}),
    ],
)
def test_functions_of_one_variable(forward, backward, verdicts):
    x = np.random.default_rng(3).normal(size=(7,))

    def f(x):
        out = forward(x)
        return out

    proof = prove(f, backward, x)
    assert proof.verdict in verdicts, str(proof)
    assert proof.lengths == ({"N": "free"} if proof.verdict == "proved" else proof.lengths)


def test_contractions_by_letters_are_sums_of_products():
    def forward(a, b, c):
        out = np.einsum("ij,jk,k->ik", a, b, c)
        return out

    def backward(dout, a, b, c):
        dc = np.sum((a @ b) * dout, axis=0)
        return np.einsum("ik,jk,k->ij", dout, b, c), a.T @ (dout * c), dc

    rng = np.random.default_rng(0)
    args = [rng.normal(size=size) for size in [(3, 3), (3, 3), (3,)]]
    assert prove(forward, backward, *args).verdict == "proved"

    def transposed(dout, a, b, c):
        da, db, dc = backward(dout, a, b, c)
        return da.T, db, dc

    proof = prove(forward, transposed, *args)
    assert proof.gradients == {"da": "refuted", "db": "proved", "dc": "proved"}


def test_a_quotient_says_what_it_assumes():
    def forward(x):
        out = x * x / x
        return out

    assert prove(forward, lambda dout, x: dout, np.ones(3)).assumptions == ("x ≠ 0",)


def test_the_maximum_shared_by_all_ties_is_not_their_gradient():
    def forward(x):
        out = np.max(x, axis=1, keepdims=True)
        return out

    def backward(dout, x):
        return dout * (x == np.max(x, axis=1, keepdims=True))

    proof = prove(forward, backward, np.random.default_rng(0).normal(size=(4, 3)))
    assert proof.verdict == "refuted"
    assert "dx" in str(proof.counterexample)


def test_both_passes_of_a_double_backward_are_proved():
    """The gradient of (dx · v) by dout, with dx from the closed form, is a third formula."""

    def forward(dout, v, xhat, gamma, std):
        N = dout.shape[0]
        dbeta = dout.sum(axis=0)
        dgamma = (dout * xhat).sum(axis=0)
        dx = gamma / std * (dout - dbeta / N - xhat * dgamma / N)
        out = (dx * v).sum()
        return out

    def backward(g, v, xhat, gamma, std):
        N = v.shape[0]
        rest = v - v.sum(axis=0) / N - xhat * (v * xhat).sum(axis=0) / N
        return {"ddout": g * gamma / std * rest}

    rng = np.random.default_rng(0)
    sizes = [(6, 4), (6, 4), (6, 4), (4,), (4,)]
    args = [rng.uniform(1, 2, size=size) for size in sizes]
    proof = prove(forward, backward, *args)
    assert proof.gradients == {"ddout": "proved"}
    assert set(proof.missing) == {"dv", "dxhat", "dgamma", "dstd"}


def test_chains_of_products_and_stacks_end_with_an_answer():
    def chain(x):
        y = x @ x.T @ x @ x.T
        out = y @ x
        return out

    def backward(dout, x):
        dx = dout
        return dx

    x = np.random.default_rng(0).normal(size=(3, 4))
    assert prove(chain, backward, x, limit_s=3).verdict == "refuted"

    def stack(x):
        for _ in range(6):
            xmu = x - np.mean(x, axis=0)
            x = xmu / np.sqrt(np.mean(xmu**2, axis=0) + EPS)
        return x

    def identity(dout, x):
        return tinygraph.Tensor(dout) * 1 if not isinstance(dout, tinygraph.Tensor) else dout * 1

    began = time.monotonic()
    proof = prove(stack, identity, x, limit_s=2, most_terms=500)
    assert proof.verdict == "refuted"
    assert time.monotonic() - began < 30


def test_too_many_terms_and_too_little_time_are_undecided(capsys):
    forward, backward, shapes, others = RIGHT["tanh"]
    proof = prove(forward, backward, *arguments(shapes, others), most_terms=1)
    assert proof.verdict == "undecided"
    assert proof.reason == "dz: an expression has more than 1 terms"
    proof = prove(forward, backward, *arguments(shapes, others), limit_s=0)
    assert (proof.verdict, proof.reason) == ("undecided", "dz: the time is up")
    assert capsys.readouterr().err == ""


def test_who_waits_is_told_once(monkeypatch, capsys):
    clock = iter(range(10**9))
    monkeypatch.setattr(time, "monotonic", lambda: 0.7 * next(clock))
    forward, backward, shapes, others = RIGHT["sigmoid"]
    prove(forward, backward, *arguments(shapes, others), limit_s=1e9)
    assert capsys.readouterr().err == "prove: at work on dz, for at most 1e+09 s\n"


def test_an_interrupt_is_the_callers(monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Algebra, "total", interrupted)
    with pytest.raises(KeyboardInterrupt):
        proof_of("batchnorm, closed")


def test_what_is_missing_and_what_has_another_shape():
    def partial(dout, cache):
        return {"dx": passes.batchnorm_closed(dout, cache)[0]}

    proof = prove(passes.batchnorm_forward, partial, *batch(6, 4), EPS)
    assert (proof.verdict, set(proof.missing)) == ("proved", {"dgamma", "dbeta"})

    def unsummed(dout, cache):
        dx, dgamma, _ = passes.batchnorm_closed(dout, cache)
        dbeta = dout * 1
        return dx, dgamma, dbeta

    proof = prove(passes.batchnorm_forward, unsummed, *batch(6, 4), EPS)
    assert proof.gradients["dbeta"] == "refuted"
    assert str(proof.counterexample) == "dbeta has shape (6, 4), but must have (4,)"


@pytest.mark.parametrize(
    ("forward", "backward", "message"),
    [
        (lambda x: 3, lambda dout: dout, "returned"),
        (lambda x: x * 2, lambda dout, nonsense: dout, "nonsense"),
        (lambda x: x * 2, lambda dout: None, "returned nothing"),
        (3, lambda dout: dout, "no function"),
    ],
)
def test_bad_input_is_one_clear_sentence(forward, backward, message):
    with pytest.raises(TypeError, match=message):
        prove(forward, backward, np.ones(3))


def test_a_backward_pass_that_is_random_by_itself_is_no_subject_of_a_proof():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="dx is another one each time"):
        prove(lambda x: x * 2, lambda dout: dout * rng.normal(), np.ones(3))


def test_the_three_ways_to_write_a_proof():
    proof = prove(passes.batchnorm_forward, with_64, *batch(64, 3), EPS)
    assert proof.markdown().splitlines()[0] == f"**{HERE}, for all D: dx**"
    assert "| `dgamma` | proved |" in proof.markdown()
    assert r"$>$ 0" in proof.latex()
    assert str(proof).splitlines()[:2] == [
        f"{HERE}, for all D: dx",
        "proved for all N and D: dgamma, dbeta",
    ]


# --------------------------------------------------------------------------- every small change

SWAPS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
MUTABLE = [
    name
    for name in RIGHT
    if name not in SLOW | {"attention", "net", "images", "cross-entropy, labels", "relu"}
]


def mutants(function):
    """Give the function with one operator exchanged, or one operand left out, for each place."""
    source = textwrap.dedent(inspect.getsource(function))
    places = sum(isinstance(node, ast.BinOp) for node in ast.walk(ast.parse(source)))
    for place in range(places):
        for kind in ("swap", "left", "double"):
            tree = ast.parse(source)
            node = [n for n in ast.walk(tree) if isinstance(n, ast.BinOp)][place]
            if kind == "swap" and type(node.op) in SWAPS:
                node.op = SWAPS[type(node.op)]()
            elif kind == "left":
                node.right = ast.Constant(1.0)
            elif kind == "double":
                node.left = ast.BinOp(node.left, ast.Mult(), ast.Constant(2.0))
            else:
                continue
            names = dict(vars(passes))
            exec(compile(ast.fix_missing_locations(tree), "<mutant>", "exec"), names)
            yield f"{function.__name__} {place} {kind}", names[function.__name__]


def is_right(forward, backward, args):
    """Whether a backward pass gives the engine's gradients, in numbers, at three points."""
    for seed in range(3):
        rng = np.random.default_rng(100 + seed)
        moved = [
            a * rng.uniform(0.5, 1.5, size=a.shape) if isinstance(a, np.ndarray) else a
            for a in args
        ]
        pair = Code(forward, backward, moved, {}, None, seed).capture()
        values = Values(pair)
        for name, own in pair.returned.items():
            engine = values.engine(name)
            if engine.shape != own.shape:
                return False
            if not np.allclose(engine, own, rtol=1e-9, atol=1e-9 * np.abs(engine).max()):
                return False
    return True


def unknown(forward, backward, args):
    """Give "undecided" where a wrong gradient is not finite, of which numbers say nothing."""
    pair = Code(forward, backward, args, {}, None, 0).capture()
    return set() if all(np.isfinite(own).all() for own in pair.returned.values()) else {"undecided"}


def judge(name, chosen):
    forward, backward, shapes, others = RIGHT[name]
    args = arguments(shapes, others)
    for label, mutant in chosen(list(mutants(backward))):
        try:
            right = is_right(forward, mutant, args)
        except (TypeError, ValueError):
            continue  # shapes that do not fit
        proof = prove(forward, mutant, *args)
        expected = {"proved"} if right else {"refuted", *unknown(forward, mutant, args)}
        assert proof.verdict in expected, f"{name}: {label}: {proof}"


@pytest.mark.parametrize("name", MUTABLE)
def test_a_change_of_one_operator_is_refuted_unless_it_changes_nothing(name):
    judge(name, lambda all_of_them: random.Random(name).sample(all_of_them, 1))


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTABLE)
def test_every_change_of_one_operator_is_refuted_unless_it_changes_nothing(name):
    judge(name, lambda all_of_them: all_of_them)


# --------------------------------------------------------------------------- planted bugs


def planted(monkeypatch, owner, name, make):
    monkeypatch.setattr(owner, name, make(getattr(owner, name)))


BUGS = {
    "a sum without its length": lambda m: planted(
        m, Algebra, "length", lambda f: lambda self, axis: self.number(1)
    ),
    "every length is one": lambda m: planted(
        m, Algebra, "length", lambda f: lambda self, axis: f(self, 0)
    ),
    "a product forgets exponents": lambda m: planted(
        m, Algebra, "power", lambda f: lambda self, p, e: f(self, p, 1 if e == 2 else e)
    ),
    "all atoms are indicators": lambda m: planted(
        m, Atom, "__init__", lambda f: lambda self, *a: (f(self, *a), _indicator(self))[0]
    ),
}


def _indicator(atom):
    atom.idempotent = atom.kind == "input"


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_in_the_algebra_does_not_go_unseen(monkeypatch, bug):
    """With it, something right is not proved, or something wrong is not refuted."""
    BUGS[bug](monkeypatch)
    wrong = prove(passes.batchnorm_forward, off_by(1 + 2.0**-40), *batch(6, 4), EPS)
    names = ("batchnorm, staged", "batchnorm, closed", "layernorm", "l2", "affine")
    right = [proof_of(name).verdict for name in names]
    here = prove(passes.batchnorm_forward, with_d_for_n, *batch(6, 6), EPS)
    assert (wrong.verdict, here.verdict, set(right)) != ("refuted", HERE, {"proved"})
