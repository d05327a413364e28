"""`check`: right backward passes pass unflagged, wrong ones are told by their first wrong line."""

import functools
import json

import numpy as np
import pytest
from backward_passes import ARGUMENTS, RIGHT, WRONG, affine, batchnorm, batchnorm_backward, changed

from tinygraph import check

# A third of the wrong ones by default, all of them in CI.
MISTAKES = [
    pytest.param(
        *case,
        id=f"{case[1].__name__}: {case[3] or 'dropped'}",
        marks=[] if k % 3 == 0 else [pytest.mark.slow],
    )
    for k, case in enumerate(WRONG)
]


def checked(forward, backward, **options):
    return check(forward, backward, *ARGUMENTS[forward], **options)


@pytest.mark.parametrize(("forward", "backward"), RIGHT)
def test_a_right_backward_pass_passes_and_no_line_is_flagged(forward, backward):
    report = checked(forward, backward)
    assert report.passed
    assert report
    assert [str(line) for line in report.lines if line.passed is False] == []
    assert report.first_wrong is None
    assert report.cause == ""
    assert "✗" not in str(report)
    assert max(one.error for one in report.gradients) < 1e-13


@pytest.mark.parametrize(("forward", "backward", "old", "new", "line"), MISTAKES)
def test_a_wrong_backward_pass_is_rejected_at_its_first_wrong_line(
    forward, backward, old, new, line
):
    report = checked(forward, changed(backward, old, new))
    assert not report.passed
    assert report.first_wrong.source.strip().startswith(line)
    assert report.cause
    # All other lines that are wrong are so only because of it.
    assert [one.number for one in report.lines if one.passed is False and not one.follows] == [
        report.first_wrong.number
    ]


def test_there_are_as_many_wrong_ones_as_promised():
    assert len(WRONG) >= 40


@pytest.mark.parametrize(
    ("old", "new", "name", "cause", "right"),
    [
        ("0.5 * 1.0 /", "1.0 /", "dvar", "factor: every entry is 2 times", "0.5 * (1.0 / np.sqrt("),
        ("dsq = 1.0 / N * ", "dsq = ", "dsq", "factor: every entry is N times", "* dvar / N`"),
        (
            "1.0 / N * np.ones((N, D)) * dmu",
            "1.0 / (N - 1) * dmu",
            "dx2",
            "factor: every entry is N/(",
            "",
        ),
        ("-1 * np.sum(dxmu1", "np.sum(dxmu1", "dmu", "factor: every entry is -1 times", "-np.sum("),
        (
            "dx = dx1 + dx2",
            "dx = dx1",
            "dx",
            "missing path: dx lacks the path through mu, dx2",
            "dx1 + dx2`",
        ),
        (
            "np.sqrt(var + eps)",
            "(np.sqrt(var) + eps)",
            "dvar",
            "eps: it is added",
            "np.sqrt(var + eps)",
        ),
        ("np.sum(dout, axis=0)", "np.sum(dout, axis=1)", "dbeta", "axis: ", "axis=0)`"),
        (
            "np.sum(dxhat * xmu, axis=0)",
            "dxhat * xmu",
            "divar",
            "missing sum: divar has shape",
            "axis=0)`",
        ),
        (
            "np.sum(dout, axis=0)",
            "np.sum(dout, axis=0, keepdims=True)",
            "dbeta",
            "keepdims: dbeta has shape (1, 5) and not (5,); the numbers are right",
            "np.sum(dout, axis=0)`",
        ),
        (
            "(dgammax * xhat, axis",
            "(dgammax * xmu, axis",
            "dgamma",
            "variable: one stands",
            "* xhat, axis",
        ),
    ],
)
def test_the_likely_cause(old, new, name, cause, right):
    report = checked(batchnorm, changed(batchnorm_backward, old, new))
    assert report.first_wrong.name == name
    assert report.cause.startswith(cause)
    assert right in report.cause


def test_a_transposed_product_is_told():
    from backward_passes import affine_backward

    wrong = changed(affine_backward, "rows.T.dot(dout)", "dout.T.dot(rows)")
    report = checked(affine, wrong)
    assert report.cause.startswith("transposed: dw has shape (5, 6) and not (6, 5)")


def test_two_mistakes_are_two_and_what_follows_is_grey():
    wrong = changed(batchnorm_backward, "0.5 * 1.0 /", "1.0 /")
    text = "dgamma = np.sum(dgammax * xhat, axis=0)"
    both = changed(wrong, text, "dgamma = np.sum(dgammax * xmu, axis=0)")
    report = checked(batchnorm, both)
    guilty = [one.name for one in report.lines if one.passed is False and not one.follows]
    grey = [one.name for one in report.lines if one.follows]
    assert guilty == ["dgamma", "dvar"]
    assert grey == ["dsq", "dxmu2", "dx1", "dx"]
    assert report.first_wrong.name == "dgamma"
    shown = str(report).splitlines()
    assert [row[0] for row in shown if "from an earlier line" in row] == ["·"] * 4


def test_what_is_called_like_a_gradient_and_means_something_else_is_not_blamed():
    def forward(x):
        var = np.mean(x * x)
        out = x / np.sqrt(var)
        return out, (x, var)

    def backward(dout, cache):
        x, var = cache
        dvar = 2 * x / x.size  # the derivative of var, not the gradient of it
        total = np.sum(dout * x)
        dx = dout / np.sqrt(var) - total * dvar / (2 * var**1.5)
        return dx

    x = np.random.default_rng(0).normal(size=6)
    report = check(forward, backward, x)
    assert report.passed
    assert [one.name for one in report.lines if one.passed is not None] == ["dx"]
    assert report.unmatched == ("dvar",)
    report = check(forward, changed_local(backward, "(2 * var**1.5)", "(var**1.5)"), x)
    assert report.first_wrong.name == "dx"
    assert report.cause.startswith("factor")


def changed_local(function, old, new):
    """Change a function that is defined inside another."""
    import inspect
    import linecache
    import textwrap

    text = textwrap.dedent(inspect.getsource(function))
    assert text.count(old) == 1
    text = text.replace(old, new)
    name = f"<{old} -> {new}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    space = {}
    exec(compile(text, name, "exec"), function.__globals__, space)
    return space[function.__name__]


# --------------------------------------------------------------------------- what is said


def test_a_report_is_text_and_json():
    report = checked(batchnorm, changed(batchnorm_backward, "0.5 * 1.0 /", "1.0 /"))
    text = str(report)
    assert text.startswith("batchnorm_backward(dout, cache): WRONG, for 3 random upstream")
    assert "the first wrong line is line 11, dvar: dvar = 1.0 / np.sqrt(var + eps)" in text
    assert "dx: FAIL" in text
    assert "dgamma: PASS" in text
    read = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert (read["passed"], read["first_wrong"]["name"], read["first_wrong"]["number"]) == (
        False,
        "dvar",
        11,
    )
    assert [one["input"] for one in read["gradients"]] == ["x", "gamma", "beta"]
    assert len(read["lines"]) == len(report.lines)
    assert report.proof is None


def test_a_right_one_is_proved():
    assert checked(batchnorm, batchnorm_backward).proof == (
        "dx, dgamma, dbeta: proved for all N and D; assuming var + eps > 0"
    )


def test_other_shapes_are_json_too():
    wrong = changed(batchnorm_backward, "np.sum(dout, axis=0)", "np.sum(dout)")
    report = checked(batchnorm, wrong)
    assert (
        json.loads(json.dumps(report.to_dict(), allow_nan=False))["gradients"][2]["error"] == "inf"
    )
    assert "dbeta: FAIL, shape () and not (5,)" in str(report)


def test_the_upstream_gradient_can_be_given():
    dout = np.zeros((7, 5))
    wrong = changed(batchnorm_backward, "0.5 * 1.0 /", "1.0 /")
    assert checked(batchnorm, wrong, dout=dout).passed
    assert not checked(batchnorm, wrong, dout=dout + np.eye(7, 5)).passed
    assert checked(batchnorm, wrong, wrt=["gamma", "beta"]).passed
    with pytest.raises(ValueError, match=r"dout has shape \(2,\), but out has \(7, 5\)"):
        checked(batchnorm, wrong, dout=np.ones(2))


def test_the_same_seed_gives_the_same_report_and_disturbs_nobody():
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    wrong = changed(batchnorm_backward, "0.5 * 1.0 /", "1.0 /")
    assert str(checked(batchnorm, wrong, seed=3)) == str(checked(batchnorm, wrong, seed=3))
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


def square(x):
    return x * x, x


def printing(dout, x):
    print("gradient")
    return 2 * x * dout


def writing(dout, cache):
    cache *= 2
    return cache * dout


def random(dout, x):
    return 2 * x * dout + np.random.normal(size=x.shape)  # noqa: NPY002


def halved(dout, x):
    return x * dout


def overwriting(dout, x):
    dout *= 2
    return x * dout


@pytest.mark.parametrize(
    ("backward", "passed", "said"),
    [
        (printing, True, "note: the backward pass prints 1 line, left out here"),
        (writing, False, "likely cause: changed state: the backward pass writes into cache, so"),
        (random, False, "likely cause: non-determinism: two runs on the same arguments give dx"),
        (overwriting, True, "note: the backward pass writes into dout, its caller's array"),
        (functools.partial(halved), False, "note: no change of a line was tried: the function"),
        (lambda dout, x: x * dout, False, "likely cause: factor: every entry is 1/2 times"),
        (lambda dout, x: x * dout * np.nan, False, "likely cause: not finite: the gradient of x"),
    ],
)
def test_bad_manners_are_told_in_one_sentence(backward, passed, said, capsys):
    report = check(square, backward, np.array([1.0, -2.0, 3.0]))
    assert report.passed is passed
    assert len([line for line in str(report).splitlines() if line.startswith(said)]) == 1
    assert capsys.readouterr().out == ""


def test_what_is_not_returned_is_told():
    def forward(x, w):
        return x * w, (x, w)

    def backward(dout, cache):
        dx = dout * cache[1]
        norm = np.sum(dx)
        return dx, norm

    report = check(forward, backward, np.ones(3), np.full(3, 2.0))
    assert report.passed
    assert report.notes == ("not returned: dw", "returned besides: norm")


def test_gradients_in_another_order_are_told():
    wrong = changed(batchnorm_backward, "return dx, dgamma, dbeta", "return dx, dbeta, dgamma")
    report = checked(batchnorm, wrong)
    assert report.passed
    assert report.notes == ("returned in another order than x, gamma, beta",)


def test_a_method_whose_cache_is_its_object():
    class Layer:
        def forward(self, x, w):
            self.x, self.w = x, w
            self.out = np.tanh(x @ w)
            return self.out

        def backward(self, dout):
            ds = dout * (1 - self.out)
            dx = ds @ self.w.T
            dw = self.x.T @ ds
            return dx, dw

    layer = Layer()
    rng = np.random.default_rng(3)
    report = check(layer.forward, layer.backward, rng.normal(size=(4, 3)), rng.normal(size=(3, 2)))
    assert report.first_wrong.source.strip() == "ds = dout * (1 - self.out)"
    assert report.cause.endswith("right would be `ds = dout * (1 - self.out ** 2)`")


def test_a_mistake_in_a_loop_is_found_there():
    def backward(dout, cache):
        xhat, gamma, _, ivar, *_ = cache
        N, D = xhat.shape
        dgamma, dbeta = np.zeros(D), np.zeros(D)
        for i in range(N):
            dgamma += dout[i] * xhat[i]
            dbeta += dout[i]
        dxhat = np.zeros((N, D))
        for i in range(N):
            dxhat[i] = dout[i] / gamma
        dx = ivar * (dxhat - dxhat.mean(axis=0) - xhat * (dxhat * xhat).mean(axis=0))
        return dx, dgamma, dbeta

    report = checked(batchnorm, backward)
    assert (report.first_wrong.name, report.cause.partition(";")[2]) == (
        "dxhat",
        " right would be `dxhat[i] = dout[i] * gamma`",
    )


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match=r"check: x of shape \(0, 3\) is empty; nothing to check"):
        check(square, printing, np.zeros((0, 3)))
    with pytest.raises(ValueError, match=r"check: x is nan at \[1\]"):
        check(square, printing, np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match=r"check: out1 is inf at \[0\]"):
        check(lambda x: (x / 0, x), printing, np.array([1.0]))


def test_a_backward_pass_that_raises_says_so_itself():
    def backward(dout, x):
        raise IndexError("out of bounds")

    with pytest.raises(IndexError, match="out of bounds"):
        check(square, backward, np.ones(2))
