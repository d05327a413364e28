"""`Picture`: DOT text, and its rendering wherever one is possible.

A Picture is a `graphviz.Digraph`. Where the ``dot`` program is installed it is used; elsewhere the
pygraphviz wheel, which carries Graphviz itself, renders in the process. Where there is neither,
DOT can still be written, and one sentence says what to install.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import graphviz

from tinygraph.files import marked, replacing

__all__ = ["FORMATS", "Picture", "RenderingError"]

FORMATS = ("svg", "png", "pdf", "dot", "json")
"""What `Picture.save` writes, by suffix."""

# Graphviz keeps global state and is not safe to enter from two threads.
_GRAPHVIZ = threading.Lock()
ABOUT_FONTS = b"Fontconfig warning"


class RenderingError(ValueError):
    """A picture could not be rendered: nothing is installed to do it, or Graphviz refused."""


class Picture(graphviz.Digraph):  # type: ignore[misc]
    """A drawn graph: DOT text that knows how to become a picture.

    What `graphviz.Digraph` does (``source``, ``pipe``, ``render``, display in notebooks) works with
    and without Graphviz's programs.

    Examples
    --------
    >>> picture = Picture("two")
    >>> picture.edge("a", "b")
    >>> picture.pipe("svg").startswith(b"<?xml")
    True
    """

    def save(self, filename: Any = None, directory: Any = None, **options: Any) -> str:
        """Write the picture in the format that the suffix names.

        Parameters
        ----------
        filename : path-like
            Ends in ``.svg``, ``.png``, ``.pdf``, ``.dot`` (or ``.gv``) or ``.json``.
        directory : path-like, optional
            Where a relative filename lies.

        Returns
        -------
        str
            The path that was written.

        Raises
        ------
        ValueError
            If the suffix is none of those.
        RenderingError
            If nothing that can render is installed.
        """
        if filename is None or "skip_existing" in options:  # as graphviz itself calls it
            return str(super().save(filename, directory=directory, **options))
        path = Path(directory or "", os.fspath(filename))
        suffix = path.suffix.lower().removeprefix(".")
        if suffix not in (*FORMATS, "gv"):
            raise ValueError(
                f"{path}: cannot write {path.suffix or 'a file without suffix'}; the formats are "
                + ", ".join(f".{name}" for name in FORMATS)
            )
        format = "dot" if suffix == "gv" else suffix
        content = marked(self.content(format), format)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(content)
        return str(path)

    def content(self, format: str) -> bytes:
        """Give what `save` writes, without its mark: the DOT text, or its rendering."""
        return self.source.encode() if format == "dot" else bytes(self.pipe(format))

    def pipe(
        self,
        format: str | None = None,
        *args: Any,
        engine: str | None = None,
        encoding: str | None = None,
        **options: Any,
    ) -> Any:
        """Render and return the bytes, or text in `encoding`.

        Parameters
        ----------
        format : str, optional
            Such as ``"svg"`` (the default), ``"png"``, ``"pdf"``.
        engine : str, optional
            Layout program; ``"dot"`` by default.
        encoding : str, optional
            Decode the result with it.

        Returns
        -------
        bytes or str

        Raises
        ------
        RenderingError
            If nothing that can render is installed, or Graphviz refuses.
        """
        engine = engine or self.engine
        if shutil.which(engine):
            with _errors_of_dot(format or self.format):
                return super().pipe(
                    format or self.format,
                    *args,
                    engine=engine,
                    encoding=encoding,
                    **{"quiet": True} | options,
                )
        content = _render(self.source, format or self.format, engine)
        return content.decode(encoding) if encoding else content

    def render(
        self,
        filename: Any = None,
        directory: Any = None,
        view: bool = False,
        cleanup: bool = False,
        format: str | None = None,
        *,
        outfile: Any = None,
        engine: str | None = None,
        **options: Any,
    ) -> str:
        """Save the DOT text and its rendering beside it; see `graphviz.Digraph.render`."""
        if shutil.which(engine or self.engine) or view:
            with _errors_of_dot(format or self.format):
                return str(
                    super().render(
                        filename,
                        directory=directory,
                        view=view,
                        cleanup=cleanup,
                        format=format,
                        outfile=outfile,
                        engine=engine,
                        **{"quiet": True} | options,
                    )
                )
        if outfile is not None:
            target = Path(directory or "", os.fspath(outfile))
            format = format or target.suffix.removeprefix(".")
            source = target.with_suffix(".gv")
        else:
            source = Path(directory or self.directory or "", os.fspath(filename or self.filename))
            target = Path(f"{source}.{format or self.format}")
        content = self.pipe(format, engine=engine)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not cleanup:
            source.write_text(self.source, encoding=self.encoding)
        target.write_bytes(content)
        return str(target)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None, **_: Any) -> Any:
        """Show SVG, with the DOT text beside it; where nothing can render, the text alone."""
        bundle = {"text/plain": self.source}
        try:
            bundle["image/svg+xml"] = self.pipe("svg", encoding="utf-8")
        except RenderingError as error:
            bundle["text/plain"] = f"{error}\n\n{self.source}"
        wanted = set(include or bundle) - set(exclude or ())
        return {kind: content for kind, content in bundle.items() if kind in wanted}


def _render(source: str, format: str, engine: str) -> bytes:
    """Render DOT text in this process."""
    try:
        import pygraphviz
    except ImportError:
        raise RenderingError(
            f"{format} cannot be rendered here: install Graphviz (its dot program) or "
            "pip install pygraphviz; DOT text can be written without them"
        ) from None
    with _GRAPHVIZ, _stderr_of_libraries() as messages:
        try:
            content = pygraphviz.AGraph(string=source).draw(format=format, prog=engine)
        except TypeError:  # pygraphviz, of a format that its Graphviz does not know
            content = b""
        except (ValueError, OSError) as error:
            raise RenderingError(
                f"Graphviz cannot render {format}: {error} {messages()}".strip()
            ) from None
    if not content:
        raise RenderingError(f"Graphviz knows no format {format!r}; use one of {FORMATS}")
    return bytes(content)


@contextmanager
def _errors_of_dot(format: str) -> Iterator[None]:
    """Let what the dot program explains be the message of a RenderingError."""
    try:
        yield
    except graphviz.CalledProcessError as error:
        said = error.stderr or b""
        said = said.decode(errors="replace") if isinstance(said, bytes) else said
        raise RenderingError(f"Graphviz cannot render {format}: {' '.join(said.split())}") from None


@contextmanager
def _stderr_of_libraries() -> Iterator[Any]:
    """Collect what C libraries print on standard error.

    Graphviz explains an error only there, and its font library warns there of configuration files
    that are newer than itself, which no reader of the picture can do anything about.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as file:

        def messages() -> str:
            file.seek(0)
            return " ".join(file.read().decode(errors="replace").split())

        kept = os.dup(2)
        try:
            os.dup2(file.fileno(), 2)
            yield messages
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            said = [line for line in file if not line.startswith(ABOUT_FONTS)]
            if said and sys.exc_info()[0] is None:  # of another thread, perhaps
                os.write(2, b"".join(said))
