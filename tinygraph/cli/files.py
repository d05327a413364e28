"""What the command writes: which files it may replace, and what it says meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tinygraph.cli.inputs import InputError, printable

__all__ = ["check_targets", "say", "write"]


def check_targets(paths: Sequence[Path], force: bool) -> None:
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


def write(content: bytes, output: str) -> None:
    """Write to the file, or to standard output if that is `-`, and say so."""
    if output == "-":
        if sys.stdout is None:
            raise InputError("standard output is closed; name a file with -o")
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    path = Path(output)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    say(f"wrote {path}")


def say(message: str) -> None:
    """Print one line on standard error."""
    print(printable(message), file=sys.stderr)
