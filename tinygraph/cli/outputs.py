"""What the command writes: which files it may replace, and what it says meanwhile."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tinygraph.cli.inputs import InputError, printable
from tinygraph.files import is_ours, marked, replacing

__all__ = ["aside", "check_targets", "hold_streams", "require_output", "say", "show", "write"]


def check_targets(paths: Sequence[Path], force: bool) -> None:
    """Refuse to overwrite what is not ours, before anything is computed."""
    for path in paths:
        for folder in path.parents:
            if folder.exists() and not folder.is_dir():
                raise InputError(f"{folder}: is a file, but the pictures need a directory there")
        if path.exists() and not path.is_file():
            found = "a directory" if path.is_dir() else "no regular file"
            raise InputError(f"{path}: is {found}, but a picture is to be written there")
        if path.exists() and not force and not is_ours(path.read_bytes()):
            raise InputError(
                f"{path}: exists and is not as tinygraph made it; choose another place with -o, or "
                "overwrite it with --force"
            )


def write(content: bytes, output: str, format: str) -> None:
    """Write to the file, marked as ours, and say so; or to standard output if that is `-`."""
    if output == "-":
        require_output().buffer.write(content)
        sys.stdout.buffer.flush()
        return
    path = Path(output)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(marked(content, format))
    say(f"wrote {path}")


def show(text: str) -> None:
    """Print a result on standard output."""
    print(text, file=require_output())


def say(message: str) -> None:
    """Print one line on standard error, if that can be written to."""
    with contextlib.suppress(OSError):
        print(printable(message), file=sys.stderr)


@contextlib.contextmanager
def aside() -> Iterator[None]:
    """Send what is printed meanwhile to standard error: standard output is for the result.

    So it is with what C code and other programs write.
    """
    if sys.stdout is not None:
        sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        if sys.__stdout__ is not None:
            sys.__stdout__.flush()
        os.dup2(kept, 1)
        os.close(kept)


def hold_streams() -> None:
    """Take the places of standard streams that are closed, lest files that are opened get them.

    What is said on standard error is lost then; a result is not: see `show`.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def require_output() -> Any:
    """Give standard output; raise where it is closed."""
    if sys.stdout is None:
        raise InputError("standard output is closed; name a file with -o, or leave it open")
    return sys.stdout
