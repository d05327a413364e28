"""`Picture`: DOT text that knows how to become a picture.

A Picture is a `graphviz.Digraph`. What `draw` made is laid out by Graphviz and written by us, the
same on every machine. What Graphviz itself would draw is had by ``renderer="dot"``, or by
TINYGRAPH_DOT=1 in the environment, from the ``dot`` program; and it is what a Picture becomes to
which something was added by hand.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import Any

import graphviz

from tinygraph.drawing.dot import EDGE, GRAPH, NODE, body, legend
from tinygraph.drawing.layout import RenderingError, draw_by_graphviz, mirrored, place
from tinygraph.drawing.pdf import write_pdf
from tinygraph.drawing.png import write_png
from tinygraph.drawing.scene import PAPER, Scene, draw_scene
from tinygraph.drawing.sheet import Sheet
from tinygraph.drawing.svg import write_svg
from tinygraph.files import marked, replacing

__all__ = ["FORMATS", "Picture", "RenderingError"]

FORMATS = ("svg", "png", "pdf", "dot", "json")
"""What `Picture.save` writes, by suffix."""

OURS = ("svg", "png", "pdf")
FITTED = "max-width:100%;height:auto"
"""Makes a picture as narrow as the cell that it stands in."""


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

    sheet: Sheet | None = None

    @classmethod
    def of(cls, sheet: Sheet) -> Picture:
        """Give the picture of what stands on a sheet.

        Parameters
        ----------
        sheet : Sheet

        Returns
        -------
        Picture
        """
        look = GRAPH | {"rankdir": sheet.direction, "ranksep": f"{sheet.gap:g}"}
        picture = cls(
            "tinygraph",
            comment="made by tinygraph",
            format="svg",
            graph_attr=look | {"label": legend(sheet)},
            node_attr=NODE,
            edge_attr=EDGE,
            body=body(sheet),
        )
        picture.sheet = sheet
        return picture

    def copy(self) -> Picture:
        """Give a copy to which something can be added."""
        copied: Picture = super().copy()
        copied.sheet = self.sheet
        return copied

    def save(self, filename: Any = None, directory: Any = None, **options: Any) -> str:
        """Write the picture in the format that the suffix names.

        Parameters
        ----------
        filename : path-like
            Ends in ``.svg``, ``.png``, ``.pdf``, ``.dot`` (or ``.gv``) or ``.json``.
        directory : path-like, optional
            Where a relative filename lies.
        **options
            Those of `pipe`.

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
        content = marked(self.content(format, **options), format)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(content)
        return str(path)

    def content(self, format: str, **options: Any) -> bytes:
        """Give what `save` writes, without its mark: the DOT text, or its rendering."""
        if format == "dot":
            return str(self.source).encode()
        return bytes(self.pipe(format, **options))

    def pipe(
        self,
        format: str | None = None,
        *args: Any,
        renderer: str | None = None,
        engine: str | None = None,
        encoding: str | None = None,
        dpi: float = 96,
        transparent: bool = False,
        **options: Any,
    ) -> Any:
        """Render and return the bytes, or text in `encoding`.

        Parameters
        ----------
        format : str, optional
            Such as ``"svg"`` (the default), ``"png"``, ``"pdf"``.
        renderer : str, optional
            ``"dot"``: let the ``dot`` program draw, with the fonts of this machine.
        engine : str, optional
            Layout program; ``"dot"`` by default.
        encoding : str, optional
            Decode the result with it.
        dpi : float, optional
            Pixels to an inch, of PNG.
        transparent : bool, optional
            Leave the paper out.

        Returns
        -------
        bytes or str

        Raises
        ------
        RenderingError
            If nothing that can render is installed, or Graphviz refuses.
        ValueError
            If `dpi` is not a positive number.
        """
        if not 0 < dpi < inf:
            raise ValueError(f"dpi is {dpi!r}, but must be a positive number of pixels to an inch")
        format, engine = format or self.format, engine or self.engine
        if args or options or self._by_program(renderer, engine):
            if renderer not in (None, "dot"):
                options["renderer"] = renderer
            with _errors_of_dot(format):
                return super().pipe(
                    format, *args, engine=engine, encoding=encoding, **{"quiet": True} | options
                )
        scene = self._scene(format) if format in OURS and engine == "dot" else None
        if scene is None:
            content = draw_by_graphviz(self.source, format, engine)
        else:
            content = self._written(scene, format, dpi, transparent)
        return content.decode(encoding) if encoding else content

    def render(
        self,
        filename: Any = None,
        directory: Any = None,
        view: bool = False,
        cleanup: bool = False,
        format: str | None = None,
        *,
        renderer: str | None = None,
        outfile: Any = None,
        engine: str | None = None,
        **options: Any,
    ) -> str:
        """Save the DOT text and its rendering beside it; see `graphviz.Digraph.render`."""
        if options or self._by_program(renderer, engine or self.engine):
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
            with replacing(source) as file:
                file.write(self.source.encode(self.encoding))
        with replacing(target) as file:
            file.write(content)
        if view:
            self._view(str(target), format=format or self.format, quiet=True)
        return str(target)

    def natural_width(self) -> float:
        """Give the width that it has where nothing makes it smaller, in points."""
        scene = self._scene("svg")
        return scene.width if scene else 0.0

    def _written(self, scene: Scene, format: str, dpi: float, transparent: bool) -> bytes:
        asked = self.sheet.width if self.sheet else None
        scale = min(1.0, asked / scene.width) if asked else 1.0
        if format == "pdf":
            return write_pdf(scene, scale)
        if format == "png":
            return write_png(scene, dpi, transparent, scale)
        return write_svg(scene, "computational graph", scale, "" if transparent else PAPER).encode()

    def _by_program(self, renderer: str | None, engine: str) -> bool:
        """Whether the dot program is asked for; where it is not installed, asking is an error."""
        if renderer is None and os.environ.get("TINYGRAPH_DOT") != "1":
            return False
        if shutil.which(engine) is None:
            raise RenderingError(
                f"the {engine} program was asked for, but is not installed: install Graphviz, or "
                "leave out renderer and TINYGRAPH_DOT"
            )
        return True

    def _scene(self, format: str) -> Scene | None:
        """Lay out what is on the sheet; None where the text says more or less than the sheet."""
        if self.sheet is None:
            return None
        places = place(self.source, format)
        roads = {road.ident for road in self.sheet.roads}
        if set(places.blocks) != set(self.sheet.blocks) or set(places.roads) != roads:
            return None
        if self.sheet.is_mirrored:
            places = mirrored(places, self.sheet.upright)
        return draw_scene(self.sheet, places)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None, **_: Any) -> Any:
        """Show SVG, with the DOT text beside it; where nothing can render, the text alone."""
        bundle = {"text/plain": self.source}
        try:
            svg = self.pipe("svg", encoding="utf-8")
            bundle["image/svg+xml"] = svg.replace("<svg ", f'<svg style="{FITTED}" ', 1)
        except RenderingError as error:
            bundle["text/plain"] = f"{error}\n\n{self.source}"
        wanted = set(include or bundle) - set(exclude or ())
        return {kind: content for kind, content in bundle.items() if kind in wanted}


@contextmanager
def _errors_of_dot(format: str) -> Iterator[None]:
    """Let what the dot program explains be the message of a RenderingError."""
    try:
        yield
    except graphviz.CalledProcessError as error:
        said = error.stderr or b""
        said = said.decode(errors="replace") if isinstance(said, bytes) else said
        raise RenderingError(f"Graphviz cannot render {format}: {' '.join(said.split())}") from None
