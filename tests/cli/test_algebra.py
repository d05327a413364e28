"""`tinygraph prove` and `tinygraph simplify`: their exit codes, formats and messages."""

import textwrap

import numpy as np
import pytest

from tinygraph.batchnorm import closed_form
from tinygraph.cli.commands import main

MODEL = """
import numpy as np

def forward(x, gamma, beta, eps=1e-5):
    mu = np.mean(x, axis=0)
    xmu = x - mu
    std = np.sqrt(np.mean(xmu**2, axis=0) + eps)
    xhat = xmu / std
    out = gamma * xhat + beta
    return out, (xhat, gamma, std)

def backward(dout, cache):
    xhat, gamma, std = cache
    N = len(dout)
    dbeta = dout.sum(axis=0)
    dgamma = (dout * xhat).sum(axis=0)
    dx = gamma / std * (dout - dbeta / N - xhat * dgamma / N)
    return dx, dgamma, dbeta

def wrong(dout, cache):
    dx, dgamma, dbeta = backward(dout, cache)
    dx = dx * 1.001
    return dx, dgamma, dbeta

def of_six(dout, cache):
    xhat, gamma, std = cache
    dbeta = dout.sum(axis=0)
    dgamma = (dout * xhat).sum(axis=0)
    dx = gamma / std * (dout - dbeta / 6 - xhat * dgamma / 6)
    return dx, dgamma, dbeta
"""
SHAPES = ["x=6x4", "gamma=4", "beta=4"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.py").write_text(textwrap.dedent(MODEL), encoding="utf-8")


def prove(backward, *options):
    return main(["prove", "model.py:forward", f"model.py:{backward}", *SHAPES, *options])


@pytest.mark.parametrize(
    ("backward", "options", "code", "start"),
    [
        ("backward", [], 0, "proved for all N and D: dx, dgamma, dbeta\n"),
        ("of_six", [], 0, "proved at these lengths, for all D: dx\n"),
        ("wrong", [], 1, "refuted: dx\n"),
        ("backward", ["--limit", "0"], 3, "undecided: dx, dgamma, dbeta\n"),
        (
            "backward",
            ["--format", "markdown"],
            0,
            "**proved for all N and D: dx, dgamma, dbeta**\n",
        ),
        ("backward", ["--format", "latex"], 0, "proved for all N and D: dx, dgamma, dbeta\\\\\n"),
    ],
)
def test_verdicts_and_exit_codes_of_prove(capsys, backward, options, code, start):
    assert prove(backward, *options) == code
    out, err = capsys.readouterr()
    assert out.startswith(start)
    assert err == ""


def test_a_refutation_names_the_line(capsys):
    prove("wrong")
    assert "first wrong: line 22: dx (1001/1000 times the gradient of x)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["prove", "model.py:forward", "model.py:nothing", *SHAPES], "has no function 'nothing'"),
        (["prove", "model.py:forward", "model.py:backward", "x=6x4"], "missing a required"),
        (["prove", "model.py:forward"], "required: FILE.py:BACKWARD"),
        (["simplify", "model.py:forward", "x=6x4"], "missing a required"),
        (["simplify", "batchnorm", "--format", "pdf"], "invalid choice"),
    ],
)
def test_a_mistake_is_one_line(capsys, arguments, words):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert err.count("\n") == 1


def test_simplify_prints_the_derivation(capsys):
    assert main(["simplify", "batchnorm", "x=8x3"]) == 0
    out = capsys.readouterr().out
    assert "= gamma/sqrtvar · (dout − dbeta/N − xhat · dgamma/N)" in out
    assert out.endswith("became 2 reductions, 5 full-size operations and 3 small operations.\n")


def test_simplify_writes_a_module_whose_backward_pass_is_the_closed_form(tmp_path, capsys):
    options = ["-o", "closed.py"]
    assert main(["simplify", "model.py:forward", *SHAPES, *options]) == 0
    assert capsys.readouterr().err == "wrote closed.py\n"
    names = {}
    exec((tmp_path / "closed.py").read_text(encoding="utf-8"), names)
    rng = np.random.default_rng(0)
    x, gamma, dout = rng.normal(size=(6, 4)), rng.normal(size=4), rng.normal(size=(6, 4))
    _, cache = names["forward"](x, gamma, gamma)
    for found, expected in zip(
        names["backward"](dout, cache), closed_form(x, gamma, dout), strict=True
    ):
        assert np.allclose(found, expected, rtol=1e-12, atol=1e-13)


def test_the_help_names_exit_codes(capsys):
    assert main(["prove", "--help"]) == 0
    assert "3 undecided" in " ".join(capsys.readouterr().out.split())
