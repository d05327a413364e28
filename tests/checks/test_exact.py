"""In fractions, the gradients of BatchNorm are equal, and whatever is wrong is not."""

import inspect
import json
import math
import re
import textwrap
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygraph import Graph, Tensor, compare, grad, ops, trace
from tinygraph.batchnorm import closed_form, staged
from tinygraph.batchnorm import primitive as fused
from tinygraph.checks import by_hand
from tinygraph.checks.exact import written_out
from tinygraph.checks.rational import (
    EPS,
    draw_fractions,
    mean,
    stretch,
    to_fractions,
    with_square_variance,
)
from tinygraph.checks.reports import Report
from tinygraph.cli.inputs import wine
from tinygraph.engine.autodiff import reachable
from tinygraph.engine.ops import rational_root

IMAGES, LAYER = (0, 2, 3), -1
NAMES = ("dx", "dgamma", "dbeta")
AT_MINUS_GAMMA = "closed form at -gamma"
WAYS = {"autodiff", "by hand", "closed form"}


def batch(shape=(5, 3), seed=0):
    """Give decimals of one digit after the point."""
    return np.round(np.random.default_rng(seed).normal(2, 3, size=shape), 1)


def is_exact(a):
    """Whether every entry is a fraction (or a whole number) of Python's own integers."""
    return all(
        isinstance(v, Fraction | int) and type(v.numerator) is type(v.denominator) is int
        for v in np.asarray(a).flat
    )


# --- what is right is equal -----------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 5, 8])
@pytest.mark.parametrize("d", [1, 4])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_gradient_of_a_batch_is_equal(n, d, seed):
    report = compare(batch((n, d), seed), seed=seed, exact=True)
    assert report.passed, str(report)
    assert [step.evidence.entries for step in report.steps] == [n * d, d, n * d, n * d, d, d, d] + [
        n * d
    ] * 3
    assert set(report.gradients) == {*WAYS, "Jacobian"}
    for way, gradients in report.gradients.items():
        assert set(gradients) == ({"dx"} if way == "Jacobian" else set(NAMES))
        for name, g in gradients.items():
            assert np.asarray(g).tolist() == report.gradients["autodiff"][name].tolist()
    assert any(v != 0 for v in report.gradients["autodiff"]["dx"].flat)


@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((2, 3, 2, 2), IMAGES),
        ((3, 2, 2, 2), (0, 1, 2)),
        ((4, 5), LAYER),
        ((3, 4), (0, 1)),
        ((2, 3, 4), 0),
        ((2, 3, 4), 1),
        ((2, 3, 4), (1, 2)),
        ((7,), 0),
    ],
    ids=repr,
)
def test_gradients_over_other_axes_are_equal(shape, axis):
    report = compare(batch(shape), axis=axis, exact=True)
    assert report.passed, str(report)
    assert set(report.gradients) == WAYS
    assert any(v != 0 for v in report.gradients["autodiff"]["dx"].flat)


def test_gammas_of_every_sign():
    gamma = [0, -2, 0.5]
    report = compare(batch(), gamma=gamma, beta=[0, 0, 1], exact=True)
    assert report.passed
    assert report.arrays["gamma"].tolist() == [0, -2, Fraction(1, 2)]
    dx = report.gradients["autodiff"]["dx"]
    assert not any(dx[:, 0])
    assert any(dx[:, 1])


@given(st.data())
def test_they_are_the_same_rational_function(data):
    """Two rational functions that agree wherever they are asked are one."""
    n, d = data.draw(st.integers(2, 5)), data.draw(st.integers(1, 2))
    numbers = st.fractions(-9, 9, max_denominator=9)

    def array(*shape):
        size = math.prod(shape)
        values = data.draw(st.lists(numbers, min_size=size, max_size=size))
        return np.array(values, dtype=object).reshape(shape)

    s = data.draw(st.fractions(Fraction(1, 50), 9, max_denominator=50))
    given = array(n, d), array(d), array(d), array(n, d)
    report = compare(*given, eps=s * s, exact=True)
    assert report.passed, str(report)
    assert report.moved <= Fraction(1, 10**6)
    # The classical identities: nothing of dout's mean arrives, and nothing moves x as a whole.
    assert not np.sum(report.gradients["autodiff"]["dx"], axis=0).any()


@pytest.mark.slow
def test_wine():
    report = compare(wine(), exact=True)
    assert report.passed
    assert 0 < report.moved <= Fraction(1, 10**6)
    assert {one.entries for many in report.others.values() for one in many} == {2314, 13}
    assert set(report.others) == {"by hand", "closed form", "Jacobian", AT_MINUS_GAMMA}


@pytest.mark.parametrize("axis", [0, 1])
def test_nothing_is_a_float_anywhere(axis):
    report = compare(batch((4, 3)), axis=axis, exact=True)
    assert report.passed
    for group in (report.arrays, *report.gradients.values()):
        assert all(is_exact(a) for a in group.values())
    x, gamma, beta, dout = report.arrays.values()
    out = staged(Tensor(x), gamma, beta, eps=EPS, axis=axis)
    out.backward(dout)
    for node in reachable([out]):
        constants = [v for v in node.inputs if not isinstance(v, Tensor)]
        assert is_exact(node.data)
        assert node.grad is None or is_exact(node.grad)
        assert all(is_exact(v) for v in constants)


@pytest.mark.parametrize(("shape", "axis"), [((5, 3), 0), ((2, 3, 2, 2), IMAGES), ((4, 5), LAYER)])
def test_batchnorm_as_one_primitive_is_equal_too(shape, axis):
    report = compare(batch(shape), axis=axis, exact=True)
    x, gamma, beta, dout = report.arrays.values()
    tensors = [Tensor(x), Tensor(gamma), Tensor(beta)]
    out = fused.normalize(*tensors, eps=EPS, axis=axis)
    assert out.data.tolist() == staged(*tensors, eps=EPS, axis=axis).data.tolist()
    for name, g in zip(NAMES, grad(out, tensors, dout), strict=True):
        assert is_exact(g)
        assert g.tolist() == report.gradients["autodiff"][name].tolist()


@pytest.mark.parametrize(("shape", "axis"), [((4, 2), 0), ((2, 2, 3), (0, 2)), ((3, 4), LAYER)])
def test_second_derivatives_are_equal(shape, axis):
    """Those of the staged graph, and those of the closed form, which is the fused one's rule."""
    x, gamma, beta, dout = compare(batch(shape), axis=axis, exact=True).arrays.values()
    rng = np.random.default_rng(1)
    w, v = draw_fractions(rng, shape), draw_fractions(rng, shape)
    found = []
    for normalize in (staged, fused.normalize):
        tensors = [Tensor(x), Tensor(gamma), Tensor(dout)]
        out = normalize(*tensors[:2], beta, eps=EPS, axis=axis)
        (dx,) = grad(out, tensors[:1], tensors[2], create_graph=True)
        found.append([g.tolist() for g in grad(dx, tensors, w)])
        assert all(is_exact(g) for g in grad(dx, tensors, w))
        # A Hessian is symmetric: wᵀ H v = vᵀ H w.
        (hw,), (hv,) = grad(dx, tensors[:1], w), grad(dx, tensors[:1], v)
        assert np.sum(hw * v) == np.sum(hv * w) != 0
    assert found[0] == found[1]


# --- what is wrong is not -------------------------------------------------------------------------


def wrong(formula):
    """Make a closed form whose dx is a formula of xhat, ivar, gamma, dout and their sums."""

    def closed(x, gamma, dout, *, eps, axis):
        _, dgamma, dbeta = closed_form(x, gamma, dout, eps=eps, axis=axis)
        n = len(x)
        xmu = x - np.sum(x, axis=0) / n
        ivar = 1 / ops.sqrt(np.sum(xmu**2, axis=0) / n + eps)
        return formula(xmu * ivar, ivar, gamma, dout, dgamma, dbeta, n), dgamma, dbeta

    return closed


def right_dx(xhat, ivar, gamma, dout, dgamma, dbeta, n):
    return gamma * ivar * (dout - dbeta / n - xhat * dgamma / n)


WRONG = {
    "without the mean": wrong(
        lambda xhat, ivar, g, d, dgamma, dbeta, n: g * ivar * (d - xhat * dgamma / n)
    ),
    "without the variance": wrong(
        lambda xhat, ivar, g, d, dgamma, dbeta, n: g * ivar * (d - dbeta / n)
    ),
    "Bessel's N − 1": wrong(
        lambda xhat, ivar, g, d, dgamma, dbeta, n: (
            g * ivar * (d - dbeta / n - xhat * dgamma / (n - 1))
        )
    ),
    "without 1/N": wrong(
        lambda xhat, ivar, g, d, dgamma, dbeta, n: g * ivar * (d - dbeta - xhat * dgamma)
    ),
    "without gamma": wrong(lambda xhat, ivar, g, *rest: right_dx(xhat, ivar, 1, *rest)),
    "transposed": wrong(lambda *parts: right_dx(*parts).T),
    "one row alone": wrong(lambda *parts: right_dx(*parts)[0]),
    "wrong by 10⁻⁴⁰": wrong(lambda *parts: right_dx(*parts) + Fraction(1, 10**40)),
    "rounded": wrong(lambda *parts: right_dx(*parts).astype(float)),
}


def test_the_harness_of_the_wrong_forms_is_right():
    assert compare(batch((4, 4)), closed=wrong(right_dx), exact=True).passed


@pytest.mark.parametrize("how", WRONG)
def test_a_wrong_closed_form_is_rejected(how):
    report = compare(batch((4, 4)), closed=WRONG[how], exact=True)
    assert not report.passed
    assert [str(one) for one in report.others["closed form"]] == ["DIFFERS", "equal", "equal"]
    assert all(not step.evidence.differs for step in report.steps)
    assert all(not one.differs for one in report.others["Jacobian"])
    at, found, expected = report.others["closed form"][0].differs
    text = str(report)
    assert text.endswith("FAIL: they differ")
    assert f"\n{at}\n  autodiff: {found}\n  closed form: {expected}\n" in text
    if how != "one row alone":
        place = tuple(map(int, re.fullmatch(r"dx\[(\d), (\d)\]", at).groups()))
        assert report.gradients["autodiff"]["dx"][place] == Fraction(found)
        assert report.gradients["closed form"]["dx"][place] != Fraction(found) or how == "rounded"
    document = json.loads(json.dumps(report.to_dict()))
    assert document["passed"] is False
    (differs,) = [row["differs"] for row in document["others"]["closed form"] if not row["equal"]]
    assert differs == {"at": at, "autodiff": found, "other": expected}


@pytest.mark.parametrize("k", [1, 2])
def test_wrong_parameter_gradients_are_rejected(k):
    def closed(*args, **options):
        answer = list(closed_form(*args, **options))
        answer[k] = answer[k] / 5
        return answer

    report = compare(batch(), closed=closed, exact=True)
    assert not report.passed
    assert report.others["closed form"][k].differs


MUTATIONS = [
    ("dbeta, dgammax = dout, dout", "dbeta, dgammax = 2 * dout, dout"),
    ("dgammax * xhat, dgammax * gamma", "dgammax * xmu, dgammax * gamma"),
    ("dgammax * xhat, dgammax * gamma", "dgammax * xhat, dgammax"),
    ("self.sum(dxhat * xmu), dxhat * ivar", "self.mean(dxhat * xmu), dxhat * ivar"),
    ("self.sum(dxhat * xmu), dxhat * ivar", "self.sum(dxhat * xmu), dxhat"),
    ("minus * divar / sqrtvar**2", "divar / sqrtvar**2"),
    ("minus * divar / sqrtvar**2", "minus * divar / sqrtvar"),
    ("dsqrtvar / (2 * sqrtvar)", "dsqrtvar / sqrtvar"),
    ("np.broadcast_to(dvar / self.n, xmu.shape)", "np.broadcast_to(dvar, xmu.shape)"),
    ("dvar / self.n", "dvar / (self.n - 1)"),
    ("2 * xmu * dsq", "xmu * dsq"),
    ("dxmu1 + dxmu2", "dxmu1 - dxmu2"),
    ("dxmu1 + dxmu2", "dxmu1"),
    ("minus * self.sum(dxmu)", "self.sum(dxmu)"),
    ("dmu / self.n", "dmu"),
    ("dx1 + dx2", "dx1"),
]


@pytest.mark.parametrize(("right", "slip"), MUTATIONS)
def test_a_slip_in_the_derivation_by_hand_is_rejected(right, slip, monkeypatch):
    source = textwrap.dedent(inspect.getsource(by_hand.Derivation.staged_gradients))
    assert source.count(right) == 1
    space = dict(vars(by_hand))
    exec(source.replace(right, slip), space)
    monkeypatch.setattr(by_hand.Derivation, "staged_gradients", space["staged_gradients"])
    report = compare(batch(), exact=True)
    assert not report.passed
    assert any(one.differs for one in report.others["by hand"])
    assert not any(one.differs for one in report.others["closed form"])


@pytest.mark.parametrize(
    ("op", "rules"),
    [
        (ops.square, [lambda g, out, x: x * g]),
        (ops.sqrt, [lambda g, out, x: g / out]),
        (ops.inverse, [lambda g, out, x: -g * out]),
        (ops.sub, [lambda g, out, a, b: g, lambda g, out, a, b: g]),
    ],
    ids=["square", "sqrt", "inverse", "sub"],
)
def test_a_wrong_rule_in_the_engine_is_rejected(op, rules, monkeypatch):
    monkeypatch.setattr(op, "rules", rules)
    report = compare(batch(), exact=True)
    assert not report.passed
    assert any(step.evidence.differs for step in report.steps)
    assert "DIFFERS" in str(report)


# --- the square root ------------------------------------------------------------------------------

positive = st.fractions(min_value=Fraction(1, 10**6), max_value=10**6)
scales = st.integers(-15, 15).map(lambda k: Fraction(10) ** k)


@given(var=positive, s=positive, scale=scales, near=st.sampled_from([2, 100, 10**6, 10**12]))
def test_a_stretch_makes_a_square_and_is_near_one(var, s, scale, near):
    k = stretch(scale * var, s * s, near=Fraction(1, near))
    assert abs(k - 1) <= Fraction(1, near)
    r = rational_root(k * k * scale * var + s * s)
    assert r * r == k * k * scale * var + s * s


@given(a=positive, b=positive)
def test_what_is_a_square_is_not_stretched(a, b):
    """a² = var + eps, whether or not eps is a square itself."""
    eps = a * a * b / (b + 1)
    assert stretch(a * a - eps, eps, near=Fraction(1, 100)) == 1


@given(st.fractions())
def test_roots(q):
    assert rational_root(q * q) == abs(q)
    assert rational_root(q * q * 2) is None or q == 0


def test_x_keeps_its_mean_and_its_shape_and_hardly_moves():
    x = to_fractions(batch((6, 2, 3)), "x")
    near = Fraction(1, 1000)
    moved_x, moved = with_square_variance(x, EPS, (0, 2), near)
    assert mean(moved_x, (0, 2)).tolist() == mean(x, (0, 2)).tolist()
    deviations, before = moved_x - mean(x, (0, 2)), x - mean(x, (0, 2))
    assert np.all(np.abs(deviations - before) <= moved * np.abs(before))
    assert 0 < moved <= near
    var = mean(deviations**2, (0, 2))
    assert all(rational_root(v + EPS) is not None for v in var.flat)


def test_where_var_and_eps_make_a_square_already_x_stays():
    x = [[-1, 5.5, 0], [7, 5.5, 6]]  # variances 16, 0 and 9
    report = compare(x, eps=0.0 + 9, exact=True)
    assert report.moved > 0
    assert report.arrays["x"][:, :2].tolist() == to_fractions(x, "x")[:, :2].tolist()
    report = compare([[-1.0], [7.0]], eps=Fraction(20), exact=True)  # 16 + 20 = 36, 20 no square
    assert report.moved == 0
    assert report.passed
    assert "x as it is" in str(report)


def test_without_eps_a_variance_that_is_a_square_will_do():
    report = compare([[-1.0], [7.0]], eps=0, exact=True)
    assert report.passed
    assert report.moved == 0


# --- numbers that are given -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "fraction"),
    [
        (14.23, Fraction(1423, 100)),
        (np.float32(14.23), Fraction(1423, 100)),
        (np.float16(0.1), Fraction(1, 10)),
        (np.longdouble("14.23"), Fraction(1423, 100)),
        (-1e-7, Fraction(-1, 10**7)),
        (3, Fraction(3)),
        (2**60 + 1, Fraction(2**60 + 1)),
        (Fraction(1, 3), Fraction(1, 3)),
        (Decimal("0.1"), Fraction(1, 10)),
    ],
    ids=repr,
)
def test_a_number_is_the_decimal_that_it_prints_as(value, fraction):
    found = to_fractions(np.array([[value]]), "x")
    assert found.tolist() == [[fraction]]
    assert is_exact(found)


def test_the_arguments_are_taken_as_decimals_too():
    x, dout = batch((4, 1)), np.float32([[0.1], [0.2], [0.3], [-0.7]])
    report = compare(x, [1.1], [0.3], dout, eps=0.01, exact=True)
    assert report.passed
    assert report.eps == Fraction(1, 100)
    assert report.arrays["gamma"].tolist() == [Fraction(11, 10)]
    assert report.arrays["beta"].tolist() == [Fraction(3, 10)]
    assert report.arrays["dout"][:, 0].tolist() == [Fraction(k, 10) for k in (1, 2, 3, -7)]
    again = compare(Tensor(x), Tensor([1.1]), [0.3], dout, eps=0.01, exact=True)
    assert again.to_dict() == report.to_dict()


def test_what_is_random_is_short_and_never_ones():
    drawn = draw_fractions(np.random.default_rng(0), (40, 5))
    assert is_exact(drawn)
    assert all(1 <= abs(v.numerator) <= 9 and 1 <= v.denominator <= 9 for v in drawn.flat)
    assert min(drawn.flat) < 0 < max(drawn.flat)
    assert len(set(drawn.flat)) > 50
    assert draw_fractions(np.random.default_rng(0), (40, 5)).tolist() == drawn.tolist()
    first, again, other = (compare(batch(), seed=seed, exact=True).arrays for seed in (3, 3, 4))
    assert all(first[name].tolist() == again[name].tolist() for name in first)
    assert all(first[name].tolist() != other[name].tolist() for name in ("gamma", "beta", "dout"))


def test_the_input_is_left_alone_whatever_the_closed_form_does():
    def closed(x, gamma, dout, **options):
        answer = closed_form(x, gamma, dout, **options)
        x *= 0
        dout *= 0
        return answer

    x = to_fractions(batch(), "x")
    before = x.tolist()
    assert compare(x, closed=closed, exact=True).passed
    assert x.tolist() == before


# --- the report -----------------------------------------------------------------------------------


def test_fields_of_the_report():
    report = compare(batch((6, 2)), exact=True)
    assert isinstance(report, Report)
    assert (report.eps, report.axis) == (Fraction(1, 90000), (0,))
    assert [(s.number, s.name, s.gradient) for s in report.steps] == [
        (0, "x", "dx"), (1, "mu", "dmu"), (2, "xmu", "dxmu"), (3, "sq", "dsq"), (4, "var", "dvar"),
        (5, "sqrtvar", "dsqrtvar"), (6, "ivar", "divar"), (7, "xhat", "dxhat"),
        (8, "gammax", "dgammax"), (9, "out", "dout"),
    ]  # fmt: skip
    floats = compare(batch((6, 2)))
    assert [s.formula for s in report.steps] == [s.formula for s in floats.steps]
    assert [s.shape for s in report.steps] == [s.shape for s in floats.steps]
    with pytest.raises(AttributeError):
        report.eps = 0


def test_text_of_a_pass():
    text = str(compare(batch((6, 2)), exact=True))
    for words in (
        "BatchNorm of (6, 2) over axis 0, in fractions, eps = 1/90000",
        "of its distance from the mean, so that var + eps is a square",
        "√(var + eps)",
        "autodiff = by hand",
        "autodiff = closed form",
        "autodiff = Jacobian",
        "PASS: staged and closed form are equal",
    ):
        assert words in text
    assert text.count("equal") == 10 + 3 + 3 + 1 + 3 + 1
    assert "DIFFERS" not in text
    assert max(map(len, text.splitlines())) <= 100
    assert all(line == line.rstrip() for line in text.splitlines())


def test_to_dict_is_json():
    report = compare(batch((6, 2)), exact=True)
    found = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert found["passed"] is True
    assert (found["shape"], found["eps"], found["axis"]) == ([6, 2], "1/90000", [0])
    assert Fraction(found["moved"]) == report.moved
    assert [row["step"] for row in found["steps"]] == list(range(10))
    assert all(row["equal"] is True for row in found["steps"])
    assert set(found["others"]) == {"by hand", "closed form", "Jacobian", AT_MINUS_GAMMA}


# --- written out ----------------------------------------------------------------------------------


def read(block):
    """Read a feature that is written out: its constants, and its rows."""
    _, constants, _, rule, *rows = block.splitlines()
    assert set(rule) == {"-", " "}
    numbers = dict(pair.split(" = ") for pair in constants.split(", "))
    values = {}
    for row in rows:
        name, *cells = re.split(r"  +", row)
        values[name] = [Fraction(cell) for cell in cells]
    return {name: Fraction(v) for name, v in numbers.items()}, values


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("scale", [1e-3, 1, 250])
def test_what_is_written_out_is_right_and_short(scale, seed):
    text = written_out(scale * np.random.default_rng(seed).normal(size=(5, 3)), seed=seed)
    blocks = text.split("\n\n")
    assert len(blocks) == 2
    for block in blocks:
        c, rows = read(block)
        x, dout = (np.array(rows[name], dtype=object)[:, None] for name in ("x", "dout"))
        assert list(rows)[2:] == ["dx, autodiff", "dx, by hand", "dx, closed form", "dx, Jacobian"]
        assert c["mu"] == sum(rows["x"]) / 3
        assert c["var"] == sum((v - c["mu"]) ** 2 for v in rows["x"]) / 3
        assert c["sqrtvar"] ** 2 == c["var"] + c["eps"]
        dx, _, _ = closed_form(x, np.array([c["gamma"]]), dout, eps=c["eps"])
        assert all(rows[name] == dx[:, 0].tolist() for name in list(rows)[2:])
        assert max(map(len, block.splitlines())) <= 140


def test_what_is_written_out_follows_the_axes_and_takes_what_there_is():
    x = batch((2, 3))
    assert written_out(x, axis=-1) == written_out(x.T)
    images = batch((2, 3, 2, 2))
    assert written_out(images, axis=IMAGES) == written_out(
        np.moveaxis(images, 1, -1).reshape(-1, 3)
    )
    assert len(written_out([[1.0], [4.0]]).split("\n\n")) == 1
    constant = written_out([[5.0], [5.0]])
    assert "var = 0" in constant
    assert "moved by 0.0 %" in " ".join(constant.split())


# --- mistakes -------------------------------------------------------------------------------------

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"eps": 1e-5}, ["feature 0", "1/100000", "1/99856 = (1/316)²"]),
        ({"eps": Fraction(2)}, ["feature 0", "eps = 2", "9/4 = (3/2)²"]),
        ({"eps": 0}, ["feature 0", "eps = 0", "1/90000"]),
        ({"eps": -1}, ["eps is -1", "negative"]),
        ({"eps": NAN}, ["eps is nan"]),
        ({"x": [[1.0, 5.0], [3.0, 5.0]], "eps": 0}, ["feature 1", "1/√0", "eps > 0"]),
        ({"x": [[1.0, NAN], [3.0, 5.0]]}, ["x holds nan", "no fraction"]),
        ({"dout": np.full((5, 3), INF)}, ["dout holds inf", "no fraction"]),
        ({"x": np.eye(3) + 1j}, ["x holds", "no fraction"]),
        ({"x": np.zeros((5, 0))}, ["(5, 0)", "no feature"]),
        ({"x": [[1.0, 2.0]]}, ["(1, 2)", "at least two"]),
        ({"gamma": [1.0]}, ["gamma", "(1,)", "(3,)"]),
        ({"dout": np.ones((3, 5))}, ["dout", "(3, 5)", "(5, 3)"]),
        ({"dtype": "float32"}, ["exact=True", "float32"]),
        ({"axis": 5}, ["axis 5", "(5, 3)"]),
    ],
)
def test_mistakes_are_explained(arguments, words):
    with pytest.raises(ValueError, match=re.escape(words[0])) as caught:
        compare(**{"x": batch()} | arguments, exact=True)
    assert all(word in str(caught.value) for word in words)
    assert "\n" not in str(caught.value)


def test_a_jacobian_that_is_left_out_is_mentioned(monkeypatch):
    assert "left out" not in str(compare(batch(), exact=True))
    monkeypatch.setattr("tinygraph.checks.batches.MOST_FRACTIONS", 10)
    report = compare(batch(), exact=True)
    assert "Jacobian" not in report.others
    assert "Jacobian left out: over 10 entries" in str(report)


def test_a_masked_array_is_refused():
    with pytest.raises(TypeError, match="'x' is a masked array"):
        compare(np.ma.masked_array(batch(), batch() > 2), exact=True)


def test_a_closed_form_that_takes_square_roots_of_floats_is_told_so():
    def closed(x, gamma, dout, *, eps, axis):
        return gamma / np.sqrt(x.var(axis=axis) + eps) * dout, gamma, gamma

    with pytest.raises(TypeError, match=r"cannot compute in fractions.*tinygraph\.ops\.sqrt"):
        compare(batch(), closed=closed, exact=True)


def test_fractions_without_exact_are_pointed_to_it():
    with pytest.raises(TypeError, match=r"dtype object.*exact=True"):
        compare(to_fractions(batch(), "x"))


def test_a_fraction_as_eps_is_rounded_for_floats():
    assert compare(batch(), eps=Fraction(1, 90000)).eps == 1 / 90000


def test_a_trace_of_fractions_gives_the_names_of_the_function():
    x, one = np.array([[Fraction(1)], [Fraction(3)]]), np.array([Fraction(1)])
    steps = Graph.capture(trace(staged)(x, one, one, eps=Fraction(3))).steps
    floats = trace(staged)(x.astype(float), [1.0], [1.0], eps=3.0)
    assert [step.name for step in steps] == [step.name for step in Graph.capture(floats).steps]


def test_a_trace_of_fractions_names_eps_too():
    x, one = np.array([[Fraction(1)], [Fraction(3)]]), np.array([Fraction(1)])
    graph = Graph.capture(trace(staged)(x, one, one, eps=Fraction(3)))
    assert "eps" in {node.name for node in graph.nodes if node.role == "constant"}
