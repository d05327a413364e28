"""The command line: parses, calls, prints. No mathematics here.

Exit codes: 0 where staged and closed form agree, 1 where they do not, 2 for a mistake in the
command or in its input, explained in one line on standard error.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Sequence
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from math import isfinite
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from tinygraph.cli.inputs import InputError, describe_nonfinite, read_array, wine

__all__ = ["main"]

AGREE, DISAGREE, MISTAKE = 0, 1, 2
DTYPES = ("float32", "float64", "longdouble")
VIEWS = ("circuit", "forward", "backward", "joint")
DETAILS = ("steps", "primitives")
DIRECTIONS = ("LR", "TB", "RL", "BT")
FORMATS = ("svg", "png", "pdf", "dot", "json")
NOTATIONS = ("text", "markdown", "latex", "python")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and give its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.

    Returns
    -------
    int

    Examples
    --------
    >>> main(["batchnorm", "no_such_file.npy"])
    2
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without Σ shows a question mark
    try:
        return _run(arguments)
    except BrokenPipeError:  # the reader has seen enough, as in `tinygraph batchnorm | head`
        return AGREE
    except (InputError, ValueError, TypeError, OSError) as error:
        _say(f"tinygraph: {_one_line(error)}")
        return MISTAKE
    except MemoryError as error:
        _say(f"tinygraph: {_one_line(error) or 'out of memory'}; take smaller arrays")
        return MISTAKE
    except KeyboardInterrupt:
        _say("tinygraph: interrupted")
        return 130
    finally:
        _drop_unwritten()


def _run(arguments: Sequence[str] | None) -> int:
    try:
        options = _parser().parse_args(arguments)
        code = int(options.run(options))
    except SystemExit as stop:  # argparse has printed what it had to say
        code = stop.code if isinstance(stop.code, int) else MISTAKE
    print(end="", flush=True)
    return code


def _drop_unwritten() -> None:
    """Forget what standard output refused, which the interpreter would try again at its exit."""
    try:
        print(end="", flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        _say(f"{self.prog}: {message}; see {self.prog} --help")
        raise SystemExit(MISTAKE)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="tinygraph",
        description="Computational graphs of NumPy code: drawn, differentiated, compared.",
        epilog="examples:\n"
        "  tinygraph batchnorm\n"
        "  tinygraph compare --exact\n"
        "  tinygraph draw model.py:forward x=64x100 gamma=100 beta=100 eps=1e-5 -o out.svg\n"
        "  tinygraph derive batchnorm --format python",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"tinygraph {_version()}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_batchnorm(commands)
    _add_compare(commands)
    _add_draw(commands)
    _add_derive(commands)
    return parser


# --------------------------------------------------------------------------- batchnorm and compare


def _add_batchnorm(commands: Any) -> None:
    batchnorm, _ = _add_comparison(
        commands,
        "batchnorm",
        "  tinygraph batchnorm                          the UCI Wine measurements (178, 13)\n"
        "  tinygraph batchnorm batch.csv --dtype float32\n"
        "  tinygraph batchnorm images.npy --axis 0,2,3 -o pictures\n"
        "  tinygraph batchnorm --json > report.json",
        eps="1e-5",
        help="stage, differentiate, compare and draw BatchNorm on a batch",
        description="Run staged BatchNorm on a batch, differentiate it from a random upstream "
        "gradient, compare every gradient with the formulas derived by hand and with the closed "
        "form, and draw the graph.",
    )
    add = batchnorm.add_argument
    add("-o", "--output", metavar="DIR", default="graphs", help="for the pictures (default graphs)")
    add("--force", action="store_true", help="overwrite files that tinygraph did not make")
    batchnorm.set_defaults(run=_run_batchnorm, exact=False)


def _add_compare(commands: Any) -> None:
    compare, arithmetic = _add_comparison(
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
    compare.set_defaults(run=_run_compare)


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
    add("--upstream", metavar="FILE", help="upstream gradient of x's shape, .npy or .csv")
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


def _run_batchnorm(options: argparse.Namespace) -> int:
    targets = [Path(options.output, f"batchnorm.{suffix}") for suffix in ("dot", "svg")]
    _check_targets(targets, options.force)
    source, _, report = _compare(options)
    written, failure = _write_pictures(report.graph, targets)
    _print_report(options, source, report, {"pictures": written})
    for path in written:
        _say(f"wrote {path}")
    if failure:
        _say(f"tinygraph: {failure}")
    return AGREE if report.passed else DISAGREE


def _run_compare(options: argparse.Namespace) -> int:
    source, x, report = _compare(options)
    _print_report(options, source, report, {})
    if options.exact and not options.json:
        from tinygraph.checks.exact import written_out

        print(f"\nwritten out\n\n{written_out(x, axis=options.axis, seed=options.seed)}")
    return AGREE if report.passed else DISAGREE


def _compare(options: argparse.Namespace) -> tuple[str, Any, Any]:
    """Read the batch and compare; give what it is called, its values, and the report."""
    given = options.file is not None
    source = options.file if given else "the UCI Wine measurements"
    x = read_array(options.file, dtype=options.dtype) if given else wine(options.dtype)
    if x.ndim == 2 and len(x) and x.shape[1] > 1 and np.array_equal(x[0], np.arange(x.shape[1])):
        _say(f"tinygraph: {source}: the first row is 0, 1, 2, … and is taken as data")
    if x.ndim < 2:
        raise InputError(f"{source}: has shape {x.shape}, but a batch has at least (N, D)")
    dout = None
    if options.upstream is not None:
        dout = read_array(options.upstream, dtype=str(x.dtype))
        if dout.shape != x.shape:
            raise InputError(
                f"{options.upstream}: the upstream gradient has shape {dout.shape}, "
                f"but {source} has shape {x.shape}; they must be equal"
            )
    for name, array in ((source, x), (options.upstream, dout)):
        problem = None if array is None else describe_nonfinite(str(name), array)
        if problem:
            if options.exact:
                raise InputError(f"{problem}, which is no fraction; leave the feature out")
            if not options.allow_nonfinite:
                raise InputError(f"{problem}; --allow-nonfinite leaves such features out")
            _say(f"tinygraph: {problem}")

    from tinygraph.checks.comparison import compare

    try:
        report = compare(
            x,
            dout=dout,
            eps=options.eps,
            axis=options.axis,
            seed=options.seed,
            exact=options.exact,
        )
    except ValueError as error:
        raise InputError(f"{source}: {error}") from None
    return source, x, report


def _print_report(
    options: argparse.Namespace, source: str, report: Any, more: dict[str, Any]
) -> None:
    if options.json:
        document = report.to_dict() | {"input": source} | more
        print(json.dumps(document, indent=2, allow_nan=False))
    else:
        print(f"{source}\n{report}")


def _write_pictures(graph: Any, targets: Sequence[Path]) -> tuple[list[str], str]:
    """Draw to all targets; where nothing can render, say so and keep the DOT text."""
    from tinygraph.drawing.fitting import PAGE
    from tinygraph.drawing.rendering import RenderingError
    from tinygraph.drawing.views import draw

    picture, written = draw(graph, width=PAGE), []
    for path in targets:
        try:
            written.append(picture.save(path))
        except RenderingError as error:
            return written, str(error)
    return written, ""


# --------------------------------------------------------------------------- draw and derive

ARGUMENTS = """arguments of the function:
  name=64x100, name=100, name=()   a tensor of that shape, random from --seed
  name=1e-5                        a constant, written with a point or an exponent
  name=data.npy, name=data.csv     an array from a file
  name:=LITERAL                    any Python literal, such as n:=3
"""


def _add_target(commands: Any, name: str, examples: str, **texts: str) -> Any:
    command = commands.add_parser(
        name,
        epilog=f"{ARGUMENTS}\nexamples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **texts,
    )
    command.add_argument("target", metavar="FILE.py:FUNCTION", help="a function, or: batchnorm")
    command.add_argument("arguments", nargs="*", metavar="name=…", help="see below")
    command.add_argument("--seed", type=_seed, default=0, help="of random tensors (default 0)")
    command.add_argument("--force", action="store_true", help="overwrite a file of your own")
    return command


def _add_draw(commands: Any) -> None:
    draw = _add_target(
        commands,
        "draw",
        "  tinygraph draw batchnorm --step 7\n"
        "  tinygraph draw model.py:forward x=64x100 gamma=100 beta=100 eps=1e-5 -o out.svg\n"
        "  tinygraph draw model.py:forward x=4x3 gamma=3 beta=3 --view joint -o - --format dot",
        help="draw a NumPy function of yours",
        description="Run a function of yours, and draw its graph forwards and backwards.",
    )
    draw.add_argument("--view", default="circuit", choices=VIEWS, help="(default circuit)")
    draw.add_argument("--detail", default="steps", choices=DETAILS, help="(default steps)")
    draw.add_argument("--direction", default="LR", choices=DIRECTIONS, help="(default LR)")
    draw.add_argument("--step", type=int, metavar="K", help="one step alone; 0 for the inputs")
    draw.add_argument("--values", action="store_true", help="write value and gradient into boxes")
    draw.add_argument(
        "-o", "--output", metavar="FILE", help="by suffix; - for standard output (default: "
        "graphs/FUNCTION.svg, with view, detail and step in the name)"
    )  # fmt: skip
    draw.add_argument("--format", choices=FORMATS, help="instead of the suffix")
    draw.set_defaults(run=_run_draw)


def _run_draw(options: argparse.Namespace) -> int:
    if options.step is not None and (options.view, options.detail) != ("circuit", "steps"):
        raise InputError(
            f"--step {options.step} is a picture of its own, values with gradients beside them; "
            "leave --view and --detail out"
        )
    parts = [options.target.rpartition(":")[2] or "function"]
    parts += [options.view] * (options.view != "circuit")
    parts += [options.detail] * (options.detail != "steps")
    parts += [f"step{options.step}"] * (options.step is not None)
    output = options.output or f"graphs/{'_'.join(parts)}.{options.format or 'svg'}"
    suffix = options.format or Path(output).suffix.lower().removeprefix(".")
    suffix = {"gv": "dot", "": "svg" if output == "-" else ""}.get(suffix, suffix)
    if suffix not in FORMATS:
        raise InputError(
            f"{output}: cannot write {suffix or 'a file without suffix'}; "
            f"the formats are {', '.join(FORMATS)}"
        )
    if output != "-":
        _check_targets([Path(output)], options.force)

    from tinygraph.cli.targets import run_target
    from tinygraph.drawing.views import draw

    out = run_target(options.target, options.arguments, options.seed)
    if options.values:
        _backward(out, options.seed)
    picture = draw(
        out,
        view=options.view,
        detail=options.detail,
        step=options.step,
        values=options.values,
        direction=options.direction,
    )
    _write(picture.content(suffix), output)
    return AGREE


def _backward(out: Any, seed: int) -> None:
    rng = np.random.default_rng([seed, 1])
    with np.errstate(all="ignore"):  # the picture shows what is not finite
        for one in out if isinstance(out, list) else [out]:
            one.backward(rng.normal(size=one.shape))


def _add_derive(commands: Any) -> None:
    derive = _add_target(
        commands,
        "derive",
        "  tinygraph derive batchnorm\n"
        "  tinygraph derive batchnorm --format python -o batchnorm_by_machine.py\n"
        "  tinygraph derive model.py:forward x=64x100 gamma=100 beta=100 --format markdown",
        help="write the backward pass of a function out",
        description="Run a function of yours, and write its forward and backward pass out.",
    )
    derive.add_argument("--format", default="text", choices=NOTATIONS, help="(default text)")
    derive.add_argument(
        "-o", "--output", metavar="FILE", default="-", help="(default: standard output)"
    )
    derive.set_defaults(run=_run_derive)


def _run_derive(options: argparse.Namespace) -> int:
    if options.output != "-":
        _check_targets([Path(options.output)], options.force)

    from tinygraph.cli.targets import run_target
    from tinygraph.writing.equations import derive

    out = run_target(options.target, options.arguments, options.seed)
    text = derive(out, format=options.format)
    _write((text.rstrip("\n") + "\n").encode(), options.output)
    return AGREE


# --------------------------------------------------------------------------- files and messages


def _check_targets(paths: Sequence[Path], force: bool) -> None:
    """Refuse to overwrite what somebody else made, before anything is computed."""
    for path in paths:
        for folder in path.parents:
            if folder.exists() and not folder.is_dir():
                raise InputError(f"{folder}: is a file, but the pictures need a directory there")
        if path.exists() and not path.is_file():
            found = "a directory" if path.is_dir() else "no regular file"
            raise InputError(f"{path}: is {found}, but a picture is to be written there")
        if path.exists() and not force and not _made_by_tinygraph(path):
            raise InputError(
                f"{path}: exists and was not made by tinygraph; "
                "choose another place with -o, or overwrite it with --force"
            )


def _made_by_tinygraph(path: Path) -> bool:
    """Look for the mark that tinygraph leaves in a file, where it leaves it."""
    content = path.read_bytes()
    first = content.partition(b"\n")[0]
    match path.suffix.lower():
        case ".dot" | ".gv":
            return first == b"// made by tinygraph"
        case ".svg":
            return b'class="graph tinygraph"' in content
        case ".json":
            return b'"class": "tinygraph"' in content
        case ".png":
            return b"tEXtSoftware\0tinygraph" in content
        case ".pdf":
            return content.endswith(b"% made by tinygraph\n")
        case ".py":
            return first.startswith(b'"""') and b"written by tinygraph" in first
    return False


def _write(content: bytes, output: str) -> None:
    if output == "-":
        if sys.stdout is None:
            raise InputError("standard output is closed; name a file with -o")
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    path = Path(output)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    _say(f"wrote {path}")


def _version() -> str:
    try:
        return version("tinygraph")
    except PackageNotFoundError:
        return "from a checkout that is not installed"


def _say(message: str) -> None:
    """Print one line that no terminal takes for a command."""
    shown = (c if c.isprintable() else ascii(c)[1:-1] for c in message)
    print("".join(shown), file=sys.stderr)


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split())
