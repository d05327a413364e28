"""Files that are written whole or not at all, and that say whether they are still as we wrote them.

- `replacing` gives a file to write to, which then takes the place of the old one in one step.
- `marked` adds a line, or what the format has instead, with a digest of all the rest.
- `is_ours` tells whether content bears such a mark and has not been changed since.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

__all__ = ["is_ours", "marked", "replacing"]

COMMENTS = {
    "dot": "// {}",
    "c": "// {}",
    "svg": "<!-- {} -->",
    "pdf": "% {}",
    "python": "# {}",
    "markdown": "<!-- {} -->",
    "html": "<!-- {} -->",
    "latex": "% {}",
    "text": "{}",
}
"""How a comment is written in the formats that end in one."""

_MARK = re.compile(
    rb"(?://|%|#|<!--|) ?made by tinygraph, sha256 [0-9a-f]{64}(?: -->|)\n"
    rb'|"comment": "made by tinygraph, sha256 [0-9a-f]{64}",'
    rb"|....tEXtComment\0made by tinygraph, sha256 [0-9a-f]{64}....",
    re.DOTALL,
)


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a file that takes the place of `path` once it is written, or else is gone.

    A link stays a link, and a file keeps its mode. What is no regular file, such as a pipe, is
    written to as it is.

    Parameters
    ----------
    path : path-like

    Yields
    ------
    binary file

    Raises
    ------
    OSError
        If the file cannot be written; it names `path`, and an old file is as it was.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "new.txt")
    ...     with replacing(path) as file:
    ...         _ = file.write(b"whole")
    ...     path.read_text()
    'whole'
    """
    target = Path(os.path.realpath(path))
    new = target.with_name(f".{secrets.token_hex(8)}")
    try:
        if target.exists() and not target.is_file():
            with open(target, "wb") as file:
                yield file
            return
        if target.is_symlink():  # to itself
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        if target.exists() and not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        with open(new, "xb") as file:
            yield file
        if target.exists():
            shutil.copymode(target, new)
        os.replace(new, target)
    except OSError as error:
        raise type(error)(error.errno, error.strerror, os.fspath(path)) from error
    finally:
        new.unlink(missing_ok=True)


def marked(content: bytes, format: str) -> bytes:
    r"""Add a mark that `is_ours` knows again, where the format allows it.

    Parameters
    ----------
    content : bytes
    format : {"dot", "svg", "png", "pdf", "json", "python", "markdown", "html", "latex", "text"}

    Returns
    -------
    bytes

    Examples
    --------
    >>> made = marked(b"digraph {}\n", "dot")
    >>> is_ours(made), is_ours(made + b"// my notes\n")
    (True, False)
    """
    mark = f"made by tinygraph, sha256 {hashlib.sha256(content).hexdigest()}"
    if format == "json":
        return b'{"comment": "%s",' % mark.encode() + content.removeprefix(b"{")
    if format == "png" and b"IEND" in content:
        text = b"tEXtComment\0" + mark.encode()
        chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
        end = content.rindex(b"IEND") - 4
        return content[:end] + chunk + content[end:]
    return content + (COMMENTS.get(format, "{}").format(mark) + "\n").encode()


def is_ours(content: bytes) -> bool:
    r"""Tell whether this is what `marked` gave, to the byte.

    Parameters
    ----------
    content : bytes

    Returns
    -------
    bool

    Examples
    --------
    >>> is_ours(b"My notes, not made by tinygraph\n")
    False
    """
    for found in _MARK.finditer(content):
        rest = content[: found.start()] + content[found.end() :]
        if hashlib.sha256(rest).hexdigest().encode() in found[0]:
            return any(marked(rest, format) == content for format in (*COMMENTS, "json", "png"))
    return False
