"""A scene as PNG: every mark is filled, with the exact share that it covers of each pixel.

An edge of a polygon adds to the pixels of each row what lies to the right of it, with the sign of
its direction; summed up along a row this is the share that the polygon covers. A stroke is filled
by its outline, a glyph by its contours. No library draws, so the pixels are the same everywhere.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from math import ceil, hypot, sqrt

import numpy as np
import numpy.typing as npt

from tinygraph.drawing.glyphs import contours
from tinygraph.drawing.scene import PAPER, Ellipse, Path, Rectangle, Scene, Text, curves
from tinygraph.drawing.typography import advance

__all__ = ["write_png"]

Array = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]


def write_png(scene: Scene, dpi: float = 96, transparent: bool = False, scale: float = 1) -> bytes:
    """Write a scene as pixels.

    Parameters
    ----------
    scene : Scene
    dpi : float, optional
        Pixels to an inch; a point is 1/72 of one.
    transparent : bool, optional
        No paper.
    scale : float, optional
        Of the whole.

    Returns
    -------
    bytes
    """
    zoom = scale * dpi / 72
    corner = np.array([scene.left, scene.top])
    shape = ceil(scene.height * zoom), ceil(scene.width * zoom)
    canvas = np.full((*shape, 4), 0 if transparent else 255, np.uint8)
    for group in scene.groups:
        for mark in group.marks:
            if transparent and getattr(mark, "fill", "") == PAPER:
                continue
            for color, polygons in _filled(mark, zoom):
                _fill(canvas, [(polygon - corner) * zoom for polygon in polygons], color)
    return _file(canvas if transparent else canvas[..., :3], dpi)


# --------------------------------------------------------------------------- marks as polygons


def _filled(
    mark: Path | Ellipse | Rectangle | Text, zoom: float
) -> Iterator[tuple[str, list[Array]]]:
    """Give colours, and the polygons to fill with them."""
    if isinstance(mark, Text):
        yield mark.line.color, _glyphs(mark)
        return
    line = _flat(mark, zoom)
    if mark.fill:
        yield mark.fill, [line]
    if mark.stroke:
        dash = [float(v) for v in getattr(mark, "dash", "").split()]
        pieces = _dashes(line, dash) if dash else [line]
        yield mark.stroke, [p for piece in pieces for p in _stroke(piece, mark.width / 2)]


def _glyphs(mark: Text) -> list[Array]:
    line, x, found = mark.line, mark.x, []
    for character in line.text:
        move = np.array([line.size, -line.size])
        found += [c * move + (x, mark.y) for c in contours(character, line.bold)]
        x += line.size * advance(character, line.bold)
    return found


def _flat(mark: Path | Ellipse | Rectangle, zoom: float) -> Array:
    """Follow a shape with lines that are a few pixels long."""
    start, *steps = curves(mark)
    points = [np.array(start)]
    for step in steps:
        if len(step) == 1:
            points.append(np.array(step))
            continue
        a, (b, c, d) = points[-1][-1], map(np.array, step)
        length = hypot(*(b - a)) + hypot(*(c - b)) + hypot(*(d - c))
        t = np.linspace(0, 1, 3 + ceil(sqrt(length * zoom) * 1.5))[1:, None]
        s = 1 - t
        points.append(a * s**3 + 3 * b * s**2 * t + 3 * c * s * t**2 + d * t**3)
    if not isinstance(mark, Path) or mark.closed:
        points.append(points[0])
    return np.concatenate(points)


def _stroke(line: Array, half: float) -> list[Array]:
    """Give the outline of a line of some width: one polygon, or two around a closed line.

    At a corner the sides meet on its bisector, 1/cos of half the turn farther out.
    """
    moved = np.hypot(*np.diff(line, axis=0).T) > 1e-9
    line = line[np.concatenate([[True], moved])]
    closed = len(line) > 2 and bool(np.allclose(line[0], line[-1], atol=1e-9))
    steps = np.diff(line, axis=0)
    if not len(steps):
        return []
    steps /= np.hypot(*steps.T)[:, None]
    before = np.concatenate([steps[-1:] if closed else steps[:1], steps])
    after = np.concatenate([steps, steps[:1] if closed else steps[-1:]])
    along = before + after
    along /= np.maximum(np.hypot(*along.T), 1e-9)[:, None]
    out = np.maximum((along * after).sum(axis=1), 0.5)[:, None]
    normals = np.stack([along[:, 1], -along[:, 0]], axis=-1) * half / out
    left, right = line + normals, (line - normals)[::-1]
    return [left[:-1], right[:-1]] if closed else [np.concatenate([left, right])]


def _dashes(line: Array, dash: Sequence[float]) -> Iterator[Array]:
    """Cut a line into its dashes."""
    steps = np.diff(line, axis=0)
    along = np.concatenate([[0], np.cumsum(np.hypot(steps[:, 0], steps[:, 1]))])
    begin = 0.0
    while begin < along[-1]:
        end = min(begin + dash[0], along[-1])
        inner = line[(along > begin) & (along < end)]
        edges = [[np.interp(at, along, line[:, k]) for k in (0, 1)] for at in (begin, end)]
        yield np.concatenate([edges[:1], inner, edges[1:]])
        begin += sum(dash)


# --------------------------------------------------------------------------- polygons as pixels


def _fill(canvas: Pixels, polygons: Sequence[Array], color: str) -> None:
    """Paint polygons; what runs the other way round within another is left out."""
    if not polygons:
        return
    edges = np.concatenate([np.concatenate([p, np.roll(p, -1, axis=0)], axis=1) for p in polygons])
    left, top = (max(int(np.floor(edges[:, k::2].min())), 0) for k in (0, 1))
    right, bottom = (
        min(int(np.ceil(edges[:, k::2].max())) + 1, canvas.shape[1 - k]) for k in (0, 1)
    )
    if right <= left or bottom <= top:
        return
    share = _coverage(edges - [left, top, left, top], bottom - top, right - left)
    part, touched = canvas[top:bottom, left:right], share > 0
    share = share[touched, None]
    paint = np.array([*bytes.fromhex("ffffff" if color == PAPER else color[1:]), 255])
    part[touched] = np.rint(part[touched] * (1 - share) + paint * share)


def _coverage(edges: Array, rows: int, columns: int) -> Array:
    """Give the share of each pixel that lies within closed polygons, given as edges."""
    edges = edges[edges[:, 1] != edges[:, 3]]
    sign = np.sign(edges[:, 3] - edges[:, 1])
    x0, y0, x1, y1 = np.where(sign[:, None] > 0, edges, edges[:, [2, 3, 0, 1]]).T
    # one piece for each row that an edge passes through,
    which, row = _spread(np.floor(y0), np.ceil(y1))
    upper, lower = np.maximum(row, y0[which]), np.minimum(row + 1, y1[which])
    slope = ((x1 - x0) / (y1 - y0))[which]
    enter = x0[which] + (upper - y0[which]) * slope
    leave = x0[which] + (lower - y0[which]) * slope
    height = sign[which] * (lower - upper)
    low, high = np.minimum(enter, leave), np.maximum(enter, leave)
    # and of that one for each pixel of the row
    piece, column = _spread(np.floor(low), np.maximum(np.ceil(high), np.floor(low) + 1))
    start, end = np.maximum(column, low[piece]), np.minimum(column + 1, high[piece])
    long = high[piece] - low[piece]
    part = height[piece] * np.where(long > 0, (end - start) / np.where(long > 0, long, 1), 1)
    right = (start + end) / 2 - column  # of the pixel, what lies left of the piece
    line, place = row[piece].astype(int), np.clip(column.astype(int), 0, columns)
    inside = (line >= 0) & (line < rows)
    index = (line * (columns + 2) + place)[inside]
    size = rows * (columns + 2)
    total = np.bincount(index, (part * (1 - right))[inside], size + 1)
    total += np.bincount(index + 1, (part * right)[inside], size + 1)
    covered = np.cumsum(total[:size].reshape(rows, columns + 2), axis=1)[:, :columns]
    return np.minimum(np.abs(covered), 1)


def _spread(first: Array, last: Array) -> tuple[npt.NDArray[np.intp], Array]:
    """Count from `first` up to `last` for each pair; give whose number it is, and the number."""
    counts = (last - first).astype(int)
    which = np.repeat(np.arange(len(counts)), counts)
    begins = np.repeat(np.cumsum(counts) - counts, counts)
    return which, first[which] + (np.arange(len(which)) - begins)


# --------------------------------------------------------------------------- the file


def _file(pixels: Pixels, dpi: float) -> bytes:
    """Write pixels with 8 bits to a colour; those with a fourth value are paint times its share."""
    if pixels.shape[2] == 4:
        share = np.maximum(pixels[..., 3:], 1) / 255
        color = np.rint(np.minimum(pixels[..., :3] / share, 255)).astype(np.uint8)
        pixels = np.concatenate([color, pixels[..., 3:]], axis=-1)
    rows, columns, colors = pixels.shape
    lines = np.concatenate(
        [np.zeros((rows, 1), np.uint8), pixels.reshape(rows, columns * colors)], axis=1
    )
    head = struct.pack(">2I5B", columns, rows, 8, {3: 2, 4: 6}[colors], 0, 0, 0)
    meter = round(dpi / 0.0254)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in (
            (b"IHDR", head),
            (b"pHYs", struct.pack(">2IB", meter, meter, 1)),
            (b"IDAT", zlib.compress(lines.tobytes(), 6)),
            (b"IEND", b""),
        )
    )
