"""What each command does: reads, calls, prints. No mathematics here.

Exit codes: 0 where what is compared agrees, 1 where it does not, 2 for a mistake in the command or
in its input, explained in one line on standard error.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinygraph.cli.arguments import FORMATS, NOTATIONS, PROSE, parser
from tinygraph.cli.batches import check_options, run_batch
from tinygraph.cli.inputs import InputError, describe_nonfinite, read_array, wine
from tinygraph.cli.outputs import (
    aside,
    check_targets,
    hold_streams,
    require_output,
    say,
    show,
    write,
)

__all__ = ["main"]

AGREE, DISAGREE, MISTAKE, UNDECIDED = 0, 1, 2, 3


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
    hold_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without Σ shows a question mark
    try:
        return _run(arguments)
    except BrokenPipeError:  # the reader has seen enough, as in `tinygraph batchnorm | head`
        return AGREE
    except (InputError, ValueError, TypeError, OSError) as error:
        say(f"tinygraph: {_one_line(error)}")
        return MISTAKE
    except MemoryError as error:
        say(f"tinygraph: {_one_line(error) or 'out of memory'}; take smaller arrays")
        return MISTAKE
    except KeyboardInterrupt:
        say("tinygraph: interrupted")
        return 130
    finally:
        _drop_unwritten()


def _run(arguments: Sequence[str] | None) -> int:
    try:
        options = parser().parse_args(arguments)
        code = COMMANDS[options.command](options)
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


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split())


# --------------------------------------------------------------------------- batchnorm and compare


def _run_batchnorm(options: argparse.Namespace) -> int:
    check_options(options)
    if options.out is not None:
        run_batch(options)
        return AGREE
    folder = "graphs" if options.output is None else options.output
    targets = [Path(folder, f"batchnorm.{suffix}") for suffix in ("dot", "svg")]
    check_targets(targets, options.force)
    source, _, report = _compare(options)
    written, failure = _write_pictures(report.graph, targets)
    _print_report(options, source, report, {"pictures": written})
    for path in written:
        say(f"wrote {path}")
    if failure:
        say(f"tinygraph: {failure}")
    return AGREE if report.passed else DISAGREE


def _run_compare(options: argparse.Namespace) -> int:
    source, x, report = _compare(options)
    _print_report(options, source, report, {})
    if options.exact and not options.json:
        from tinygraph.checks.exact import written_out

        show(f"\nwritten out\n\n{written_out(x, axis=options.axis, seed=options.seed)}")
    return AGREE if report.passed else DISAGREE


def _compare(options: argparse.Namespace) -> tuple[str, Any, Any]:
    """Read the batch and compare; give what it is called, its values, and the report."""
    require_output()
    given = options.file is not None
    source = options.file if given else "the UCI Wine measurements"
    x = read_array(options.file, dtype=options.dtype) if given else wine(options.dtype)
    if x.ndim == 2 and len(x) and x.shape[1] > 1 and np.array_equal(x[0], np.arange(x.shape[1])):
        say(f"tinygraph: {source}: the first row is 0, 1, 2, … and is taken as data")
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
            say(f"tinygraph: {problem}")

    from tinygraph.checks import compare

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
        show(json.dumps(document, indent=2, allow_nan=False))
    else:
        show(f"{source}\n{report}")


def _write_pictures(graph: Any, targets: Sequence[Path]) -> tuple[list[str], str]:
    """Draw to all targets; where nothing can render, say so and keep the DOT text."""
    from tinygraph.drawing.fitting import PAGE
    from tinygraph.drawing.layout import RenderingError
    from tinygraph.drawing.views import draw

    picture, written = draw(graph, width=PAGE), []
    for path in targets:
        try:
            written.append(picture.save(path))
        except RenderingError as error:
            return written, str(error)
    return written, ""


# --------------------------------------------------------------------------- draw, derive, explore


def _run_draw(options: argparse.Namespace) -> int:
    if options.step is not None and (options.view, options.detail) != ("circuit", "steps"):
        raise InputError(
            f"--step {options.step} is a picture of its own, values with gradients beside them; "
            "leave --view and --detail out"
        )
    output, suffix = _output_of_draw(options)
    if output != "-":
        check_targets([Path(output)], options.force)

    from tinygraph.cli.targets import explaining, run_target
    from tinygraph.drawing.views import draw

    with aside(), explaining(options.target):
        out = run_target(options.target, options.arguments, options.seed)
        if options.values:
            _backward(out, options.seed)
        picture = draw(
            out,
            view=options.view,
            detail=options.detail,
            step=options.step,
            values=options.values,
            fold=options.fold,
            direction=options.direction,
            width=options.width,
            legend=not options.no_legend,
            literal=options.literal,
        )
        content = picture.content(suffix, dpi=options.dpi or 96, transparent=options.transparent)
    write(content, output, suffix)
    return AGREE


def _output_of_draw(options: argparse.Namespace) -> tuple[str, str]:
    """Give where the picture goes and in which format; what options say must go together."""
    parts = [options.target.rpartition(":")[2] or "function"]
    parts += [options.view] * (options.view != "circuit")
    parts += [options.detail] * (options.detail != "steps")
    parts += [f"step{options.step}"] * (options.step is not None)
    default = f"graphs/{'_'.join(parts)}.{options.format or 'svg'}"
    output = default if options.output is None else options.output
    suffix = options.format or Path(output).suffix.lower().removeprefix(".")
    suffix = {"gv": "dot", "": "svg" if output == "-" else ""}.get(suffix, suffix)
    if suffix not in FORMATS:
        raise InputError(
            f"{output}: cannot write {suffix or 'a file without suffix'}; "
            f"the formats are {', '.join(FORMATS)}"
        )
    if options.dpi and suffix != "png":
        raise InputError(f"--dpi {options.dpi:g} is for .png; a .{suffix} has no pixels")
    if options.transparent and suffix not in ("svg", "png"):
        raise InputError(f"--transparent is for .svg and .png; a .{suffix} has no paper")
    return output, suffix


def _backward(out: Any, seed: int) -> None:
    rng = np.random.default_rng([seed, 1])
    with np.errstate(all="ignore"):  # the picture shows what is not finite
        for one in out if isinstance(out, list) else [out]:
            one.backward(rng.normal(size=one.shape))


def _run_derive(options: argparse.Namespace) -> int:
    format = options.format or _notation_of(options.output)
    if options.output != "-":
        check_targets([Path(options.output)], options.force)

    from tinygraph.cli.targets import explaining, run_target

    with aside(), explaining(options.target):
        out = run_target(options.target, options.arguments, options.seed)
        text = _written(out, format, options.literal)
    write((text.rstrip("\n") + "\n").encode(), options.output, format)
    return AGREE


def _written(of: Any, format: str, literal: bool) -> str:
    """Write outputs or a graph out: in equations, as a module of NumPy, or as C."""
    if format != "c":
        from tinygraph.writing.equations import derive

        return str(derive(of, format=format, literal=literal))

    from tinygraph.execution import Program, Unsupported
    from tinygraph.execution.c_program import c_text
    from tinygraph.graph.snapshot import Graph

    try:
        return c_text(Program.of(of if isinstance(of, Graph) else Graph.joint(of)))
    except Unsupported as refusal:
        raise InputError(f"it cannot be written in C: {refusal}") from None


def _run_explore(options: argparse.Namespace) -> int:
    name = options.target.rpartition(":")[2].rpartition(".")[2]
    output = f"{name or 'function'}.html" if options.output is None else options.output
    if output != "-":
        if Path(output).suffix.lower() not in (".html", ".htm"):
            raise InputError(f"{output}: is written as a page, so its name must end in .html")
        check_targets([Path(output)], options.force)

    from tinygraph.cli.targets import explaining, run_sample, run_target
    from tinygraph.explorer import explore

    is_sample = options.target == "batchnorm" and not options.arguments
    with aside(), explaining(options.target):
        if is_sample:
            out, note = run_sample(), "8 wines × alcohol, malic acid, ash"
        else:
            out, note = run_target(options.target, options.arguments, options.seed), ""
        report = _checked(options) if options.check else None
        title = "BatchNorm" if options.target == "batchnorm" else name
        page = explore(out, report=report, title=title, note=note)
    write(page.html.encode(), output, "html")
    return AGREE


def _checked(options: argparse.Namespace) -> Any:
    """Check a backward pass on the arguments of the forward one."""
    from tinygraph.checks import check
    from tinygraph.cli.targets import explaining, load_pair

    with explaining(options.check):
        forward, backward, bound = load_pair(
            options.target, options.check, options.arguments, options.seed
        )
        return check(forward, backward, *bound.args, seed=options.seed, **bound.kwargs)


# --------------------------------------------------------------------------- check


def _run_check(options: argparse.Namespace) -> int:
    from tinygraph.checks import check
    from tinygraph.cli.targets import explaining, load_pair

    require_output()
    with aside(), explaining(options.forward), explaining(options.backward):
        forward, backward, bound = load_pair(
            options.forward, options.backward, options.arguments, options.seed
        )
        report = check(forward, backward, *bound.args, seed=options.seed, **bound.kwargs)
    if options.json:
        show(json.dumps(report.to_dict(), indent=2, allow_nan=False, ensure_ascii=False))
    else:
        show(str(report))
    return AGREE if report.passed else DISAGREE


# --------------------------------------------------------------------------- prove and simplify


def _run_prove(options: argparse.Namespace) -> int:
    from tinygraph.algebra import prove
    from tinygraph.cli.targets import explaining, load_pair

    require_output()
    with aside(), explaining(options.forward), explaining(options.backward):
        forward, backward, bound = load_pair(
            options.forward, options.backward, options.arguments, options.seed
        )
        found = prove(
            forward,
            backward,
            *bound.args,
            seed=options.seed,
            limit_s=options.limit,
            **bound.kwargs,
        )
    show(_in_format(found, options.format))
    codes = {"refuted": DISAGREE, "undecided": UNDECIDED}
    return codes.get(found.verdict, AGREE)


def _run_simplify(options: argparse.Namespace) -> int:
    format = options.format or _notation_of(options.output)
    if options.output != "-":
        check_targets([Path(options.output)], options.force)

    from tinygraph.algebra import simplify
    from tinygraph.cli.targets import explaining, run_target

    with aside(), explaining(options.target):
        found = simplify(run_target(options.target, options.arguments, options.seed))
        text = (
            _in_format(found, format) if format in PROSE else _written(found.graph, format, False)
        )
    write((text.rstrip("\n") + "\n").encode(), options.output, format)
    return AGREE


def _in_format(found: Any, format: str) -> str:
    return str(found) if format == "text" else str(getattr(found, format)())


def _notation_of(output: str) -> str:
    """Give what a file of that suffix holds."""
    if output == "-":
        return "text"
    suffix = Path(output).suffix.lower().removeprefix(".")
    suffix = {"markdown": "md", "htm": "html"}.get(suffix, suffix)
    for notation, known in NOTATIONS.items():
        if suffix == known:
            return notation
    raise InputError(
        f"{output}: cannot write {suffix or 'a file without suffix'}; the suffixes are "
        f"{', '.join(NOTATIONS.values())}, or say what it holds with --format"
    )


COMMANDS = {
    "batchnorm": _run_batchnorm,
    "compare": _run_compare,
    "draw": _run_draw,
    "derive": _run_derive,
    "explore": _run_explore,
    "check": _run_check,
    "prove": _run_prove,
    "simplify": _run_simplify,
}
