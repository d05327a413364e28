"""What can be written on the command line: commands, options, and the words that help with them."""

from __future__ import annotations

import argparse
import re
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from math import isfinite
from typing import Any, NoReturn

from tinygraph.cli.outputs import say

__all__ = ["FORMATS", "NOTATIONS", "PROSE", "parser"]

DTYPES = ("float32", "float64", "longdouble")
VIEWS = ("circuit", "forward", "backward", "joint")
DETAILS = ("steps", "primitives")
DIRECTIONS = ("LR", "TB", "RL", "BT", "auto")
FINEST = 2400
FORMATS = ("svg", "png", "pdf", "dot", "json")
NOTATIONS = {
    "text": "txt",
    "markdown": "md",
    "latex": "tex",
    "html": "html",
    "json": "json",
    "python": "py",
    "c": "c",
}
"""What `derive` writes, with the suffix of its files."""

PROSE = ("text", "markdown", "latex")


def parser() -> argparse.ArgumentParser:
    """Give the parser of the whole command; which one is asked for stands in `command`."""
    whole = _Parser(
        prog="tinygraph",
        description="Computational graphs of NumPy code: drawn, differentiated, compared.",
        epilog="examples:\n"
        "  tinygraph batchnorm\n"
        "  tinygraph explore batchnorm\n"
        "  tinygraph compare --exact\n"
        "  tinygraph draw model.py:forward x=64x100 gamma=100 beta=100 eps=1e-5 -o out.svg\n"
        "  tinygraph derive batchnorm --format python\n"
        "  tinygraph check model.py:forward model.py:backward x=64x100 gamma=100 beta=100",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    whole.add_argument("--version", action="version", version=f"tinygraph {_version()}")
    commands = whole.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_batchnorm(commands)
    _add_compare(commands)
    _add_draw(commands)
    _add_derive(commands)
    _add_explore(commands)
    _add_check(commands)
    _add_prove(commands)
    _add_simplify(commands)
    return whole


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        say(f"{self.prog}: {message}; see {self.prog} --help")
        raise SystemExit(2)


def _version() -> str:
    try:
        return version("tinygraph")
    except PackageNotFoundError:
        return "from a checkout that is not installed"


# --------------------------------------------------------------------------- batchnorm and compare


def _add_batchnorm(commands: Any) -> None:
    batchnorm, _ = _add_comparison(
        commands,
        "batchnorm",
        "  tinygraph batchnorm                          the UCI Wine measurements (178, 13)\n"
        "  tinygraph batchnorm batch.csv --dtype float32\n"
        "  tinygraph batchnorm images.npy --axis 0,2,3 -o pictures\n"
        "  tinygraph batchnorm --json > report.json\n"
        "  tinygraph batchnorm x.npy --gamma gamma.npy --beta beta.npy --out out.npy\n"
        "  tinygraph batchnorm x.zarr --dout d.zarr --out dx.zarr --memory 200MB",
        eps="1e-5",
        help="stage, differentiate, compare and draw BatchNorm on a batch",
        description="Run staged BatchNorm on a batch, differentiate it from a random upstream "
        "gradient, compare every gradient with the formulas derived by hand and with the closed "
        "form, and draw the graph. With --out, normalize a batch that is larger than memory, or "
        "with --dout carry a gradient back through it, block of rows by block of rows.",
    )
    _add_blocks(batchnorm.add_argument_group("a batch larger than memory"))
    add = batchnorm.add_argument
    add(
        "-o",
        "--output",
        type=_name,
        metavar="DIR",
        help="for the pictures (default graphs)",
    )
    add(
        "--force",
        action="store_true",
        help="overwrite files that tinygraph did not make; with --out, arrays",
    )
    batchnorm.set_defaults(exact=False)


def _add_blocks(group: Any) -> None:
    add = group.add_argument
    add(
        "--out",
        type=_name,
        metavar="FILE",
        help="read FILE, a .npy or .zarr, block by block, and write this .npy or .zarr: the "
        "normalized batch; with --dout, a .npy or .zarr too, the gradient of the batch, dx, and "
        "those of gamma and beta beside, dx.dgamma.npy and dx.dbeta.npy for dx.zarr. An output is "
        "there when it is whole, or not at all",
    )
    add("--gamma", type=_name, metavar="FILE", help="scale, .npy or .csv (default 1)")
    add("--beta", type=_name, metavar="FILE", help="shift, .npy or .csv (default 0)")
    add(
        "--memory",
        type=_nbytes,
        metavar="SIZE",
        help="that the blocks may take in one process (default 100MB)",
    )
    add("--cluster", type=_name, metavar="ADDRESS", help="of a dask scheduler, tcp://host:8786")


def _add_compare(commands: Any) -> None:
    _, arithmetic = _add_comparison(
        commands,
        "compare",
        "  tinygraph compare batch.csv --seed 3\n"
        "  tinygraph compare --exact                    in fractions: equal, and not only close\n"
        "  tinygraph compare batch.csv --exact --eps 1/10000",
        eps="1e-5, with --exact 1/90000",
        help="compare BatchNorm, staged and in closed form, without pictures",
        description="Do what `tinygraph batchnorm` does, but draw nothing; or do it in fractions, "
        "in which the gradients must be equal, and write a few of them out.",
    )
    arithmetic.add_argument(
        "--exact",
        action="store_true",
        help="compute in fractions, without any rounding; x moves by less than a millionth of its "
        "spread so that √(var + eps) is a fraction",
    )


def _add_comparison(
    commands: Any, name: str, examples: str, *, eps: str, **texts: str
) -> tuple[Any, Any]:
    """Add a command with what a comparison needs; give it, and its group for the arithmetic."""
    command = commands.add_parser(
        name,
        epilog=f"examples:\n{examples}\n\n"
        "exit code: 0 agree, 1 disagree, 2 mistake in the command or the input",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **texts,
    )
    add, arithmetic = command.add_argument, command.add_mutually_exclusive_group()
    add(
        "file",
        nargs="?",
        metavar="FILE",
        help="a batch of shape (N, D): .npy, or .csv with or without a header line "
        "(default: the UCI Wine measurements)",
    )
    add("--seed", type=_seed, default=0, help="of gamma, beta and upstream gradient (default 0)")
    add(
        "--upstream",
        "--dout",
        metavar="FILE",
        help="upstream gradient of x's shape, .npy or .csv",
    )
    add("--eps", type=_eps, help=f"added to the variance (default {eps})")
    arithmetic.add_argument(
        "--dtype", choices=DTYPES, help="compute in this (default: that of the file)"
    )
    add(
        "--axis",
        type=_axis,
        default=0,
        metavar="AXES",
        help="axes of mean and variance, such as 0 or 0,2,3 or -1; several that begin with a "
        "minus sign as --axis=-2,-1 (default 0)",
    )
    add("--json", action="store_true", help="print one JSON document on standard output")
    add("--allow-nonfinite", action="store_true", help="go on where the input has nan or inf")
    return command, arithmetic


# --------------------------------------------------------------------------- draw, derive, explore

ARGUMENTS = """arguments of the function:
  name=64x100, name=100, name=()   a tensor of that shape, random from --seed
  name=1e-5                        a constant, written with a point or an exponent
  name=data.npy, name=data.csv     an array from a file, as floats
  name:=LITERAL                    any Python literal: n:=3, or labels, y:=[0,2,1]
"""


def _add_target(commands: Any, name: str, examples: str, *, output: str, **texts: str) -> Any:
    command = _add_function(commands, name, examples, output=output, **texts)
    command.add_argument(
        "--literal",
        action="store_true",
        help="in formulas say what runs, operation by operation, not what an author would print",
    )
    return command


def _add_function(commands: Any, name: str, examples: str, *, output: str, **texts: str) -> Any:
    command = commands.add_parser(
        name,
        epilog=f"{ARGUMENTS}\nexamples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **texts,
    )
    command.add_argument(
        "target", metavar="FILE.py:FUNCTION", help="a function, CLASS.METHOD, or: batchnorm"
    )
    command.add_argument("arguments", nargs="*", metavar="name=…", help="see below")
    command.add_argument("--seed", type=_seed, default=0, help="of random tensors (default 0)")
    command.add_argument("-o", "--output", type=_name, metavar="FILE", help=output)
    command.add_argument("--force", action="store_true", help="overwrite a file of your own")
    return command


def _add_draw(commands: Any) -> None:
    draw = _add_target(
        commands,
        "draw",
        "  tinygraph draw batchnorm --step 7\n"
        "  tinygraph draw model.py:forward x=64x100 gamma=100 beta=100 eps=1e-5 -o out.svg\n"
        "  tinygraph draw model.py:lstm x=4x3 h=4x5 --fold sigmoid --width 240 -o column.pdf\n"
        "  tinygraph draw model.py:forward x=4x3 gamma=3 beta=3 --view joint -o - --format dot",
        output="by suffix; - for standard output (default: graphs/FUNCTION.svg, with view, detail "
        "and step in the name)",
        help="draw a NumPy function of yours",
        description="Run a function of yours, and draw its graph forwards and backwards.",
    )
    add = draw.add_argument
    add("--view", default="circuit", choices=VIEWS, help="(default circuit)")
    add("--detail", default="steps", choices=DETAILS, help="(default steps)")
    add("--step", type=int, metavar="K", help="one step alone; 0 for the inputs")
    add("--values", action="store_true", help="write value and gradient into boxes")
    add(
        "--fold",
        type=_names,
        default=(),
        metavar="NAMES",
        help="functions, with commas between them, whose calls are one box each; calls for all",
    )
    add(
        "--direction",
        choices=DIRECTIONS,
        help="where values flow to; auto: to the right where that is legible at --width, else down "
        "(default LR, with --width auto)",
    )
    add(
        "--width",
        type=_width,
        metavar="POINTS",
        help="of what the picture is for, 628.5 for a code host's page; it is folded, turned or "
        "made smaller to fit",
    )
    add("--no-legend", action="store_true", help="do not explain the marks below the picture")
    add("--dpi", type=_dpi, metavar="N", help="pixels to an inch, of a .png (default 96)")
    add("--transparent", action="store_true", help="no paper behind a .svg or .png")
    add(
        "--format",
        choices=FORMATS,
        help="instead of the suffix; json is Graphviz's own, of the picture, and not what "
        "Graph.to_json writes of the graph",
    )


def _add_derive(commands: Any) -> None:
    derive = _add_target(
        commands,
        "derive",
        "  tinygraph derive batchnorm\n"
        "  tinygraph derive batchnorm -o batchnorm_by_machine.py\n"
        "  tinygraph derive batchnorm --format c\n"
        "  tinygraph derive model.py:forward x=64x100 gamma=100 beta=100 --format markdown",
        output="by suffix: " + ", ".join(NOTATIONS.values()) + " (default: standard output)",
        help="write the backward pass of a function out",
        description="Run a function of yours, and write its forward and backward pass out.",
    )
    derive.add_argument(
        "--format", choices=tuple(NOTATIONS), help="instead of the suffix (default text)"
    )
    derive.set_defaults(output="-")


def _add_explore(commands: Any) -> None:
    explore = _add_function(
        commands,
        "explore",
        "  tinygraph explore batchnorm                  8 wines, 3 features each\n"
        "  tinygraph explore model.py:forward x=8x3 gamma=3 beta=3 eps=1e-5 -o page.html\n"
        "  tinygraph explore model.py:forward x=8x3 gamma=3 beta=3 eps=1e-5 "
        "--check model.py:backward",
        output="ends in .html; - for standard output (default: FUNCTION.html, here)",
        help="write a page on which you step through a function with its numbers",
        description="Run a function of yours, and write one page, for any browser and without a "
        "network: its graph, forwards and backwards, step by step with all numbers, of which those "
        "of the inputs can be changed.",
    )
    explore.add_argument(
        "--check",
        metavar="FILE.py:BACKWARD",
        help="a backward pass of yours, which is checked, and whose wrong lines the page shows",
    )


# --------------------------------------------------------------------------- check


def _add_check(commands: Any) -> None:
    check = commands.add_parser(
        "check",
        epilog=f"{ARGUMENTS}\nexamples:\n"
        "  tinygraph check model.py:forward model.py:backward x=64x100 gamma=100 beta=100\n"
        "  tinygraph check layers.py:loss layers.py:loss_backward x=5x4 y:=[0,3,1,1,2] --json\n"
        "  tinygraph check batchnorm model.py:backward\n\n"
        "exit code: 0 right, 1 wrong, 2 mistake in the command or the input",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        help="check a backward pass of yours, line by line",
        description="Run a forward function of yours and its backward pass, which may be written "
        "as backward(dout, cache) or by the names of what it needs; compare what its lines assign "
        "with autodiff, and say which line is wrong first, and why.",
    )
    check.add_argument("forward", metavar="FILE.py:FORWARD", help="a function, or: batchnorm")
    check.add_argument("backward", metavar="FILE.py:BACKWARD", help="its backward pass")
    check.add_argument("arguments", nargs="*", metavar="name=…", help="of FORWARD; see below")
    check.add_argument(
        "--seed", type=_seed, default=0, help="of random tensors and gradients (default 0)"
    )
    check.add_argument("--json", action="store_true", help="print one JSON document")


# --------------------------------------------------------------------------- prove and simplify


def _add_prove(commands: Any) -> None:
    prove = commands.add_parser(
        "prove",
        epilog=f"{ARGUMENTS}\nexamples:\n"
        "  tinygraph prove model.py:forward model.py:backward x=64x100 gamma=100 beta=100\n"
        "  tinygraph prove batchnorm model.py:backward --format markdown\n\n"
        "exit code: 0 proved, if only at these lengths, which is said; 1 refuted; 2 mistake in the "
        "command or the input; 3 undecided",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        help="prove a backward pass of yours, for every batch size",
        description="Read a forward function of yours and its backward pass as algebra, and prove "
        "that they belong together for all lengths of the axes; or find where they differ.",
    )
    add = prove.add_argument
    add("forward", metavar="FILE.py:FORWARD", help="a function, or: batchnorm")
    add("backward", metavar="FILE.py:BACKWARD", help="its backward pass")
    add("arguments", nargs="*", metavar="name=…", help="of FORWARD; see below")
    add("--seed", type=_seed, default=0, help="of random tensors and gradients (default 0)")
    add("--limit", type=float, default=10.0, metavar="S", help="seconds (default 10)")
    add("--format", default="text", choices=PROSE, help="(default text)")


def _add_simplify(commands: Any) -> None:
    simplify = _add_target(
        commands,
        "simplify",
        "  tinygraph simplify batchnorm\n"
        "  tinygraph simplify model.py:softmax x=4x5 --format latex\n"
        "  tinygraph simplify batchnorm --format python -o closed_form.py",
        output="(default: standard output)",
        help="derive the closed form of a backward pass",
        description="Run a function of yours, and derive its gradients step by step from what "
        "autodiff does, down to the closed form.",
    )
    simplify.add_argument("--format", choices=NOTATIONS, help="instead of the suffix")
    simplify.set_defaults(output="-")


# --------------------------------------------------------------------------- values of options


def _eps(text: str) -> float | Fraction:
    try:
        eps: float | Fraction = Fraction(text) if "/" in text else float(text)
        if eps and isfinite(eps) and not 1e-300 < abs(float(eps)) < 1e300:
            raise OverflowError
        return eps
    except (ValueError, ArithmeticError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no number in range; write such as 1e-5 or 1/90000"
        ) from None


def _seed(text: str) -> int:
    try:
        seed = int(text)
    except ValueError:
        seed = -1
    if seed < 0:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no seed; write a whole number that is not negative"
        )
    return seed


def _axis(text: str) -> int | tuple[int, ...]:
    try:
        axes = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no axis; write one integer or several with commas, such as 0,2,3"
        ) from None
    return axes[0] if len(axes) == 1 else axes


def _width(text: str) -> float:
    return _number(text, "width", "points", 1e6)


def _dpi(text: str) -> float:
    return _number(text, "resolution", "pixels to an inch", FINEST)


def _number(text: str, what: str, unit: str, most: float) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0 < number <= most:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no {what}; write a number of {unit} above 0 and up to {most:g}"
        )
    return number


def _names(text: str) -> str | list[str]:
    return text if text == "calls" else [name.strip() for name in text.split(",")]


def _nbytes(text: str) -> float:
    found = re.fullmatch(r"(\d+\.?\d*)\s*([kMGT]?)B?", text, re.IGNORECASE)
    nbytes = float(found[1]) * 1000.0 ** " kmgt".index(found[2].lower() or " ") if found else 0.0
    if not nbytes:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write such as 200MB or 1.5GB")
    return nbytes


def _name(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("the name is empty; name a file, or leave it out")
    return text
