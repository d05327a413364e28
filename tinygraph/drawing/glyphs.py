"""The outlines of the font's glyphs, read from its TrueType file.

Only what our own font has: simple glyphs, whose contours are lines and quadratic curves. Where two
control points follow one another, the point between them lies on the contour.
"""

from __future__ import annotations

import struct
from functools import cache

import numpy as np
import numpy.typing as npt

from tinygraph.drawing.typography import font_file, glyph

__all__ = ["Contour", "contours"]

Contour = npt.NDArray[np.float64]

ON, SHORT, SAME, REPEAT = 1, (2, 4), (16, 32), 8  # flags of a point, for x and for y
PIECES = 5  # lines for one quadratic curve


@cache
def contours(character: str, bold: bool) -> tuple[Contour, ...]:
    """Give the contours of a character as polygons.

    Parameters
    ----------
    character : str
    bold : bool

    Returns
    -------
    tuple of arrays of shape (n, 2)
        In units of the size; x to the right from the start, y upwards from the baseline.
    """
    tables, file = _tables("bold" if bold else "regular")
    (units,) = struct.unpack_from(">H", file, tables["head"] + 18)
    (long,) = struct.unpack_from(">h", file, tables["head"] + 50)
    form, factor = (">2I", 1) if long else (">2H", 2)
    place = tables["loca"] + glyph(character, bold) * struct.calcsize(form) // 2
    start, end = (tables["glyf"] + factor * k for k in struct.unpack_from(form, file, place))
    if start == end:
        return ()
    return tuple(_polygon(xy, on) / units for xy, on in _simple(file, start))


@cache
def _tables(face: str) -> tuple[dict[str, int], bytes]:
    """Give where each table of the font begins, and the font."""
    file = font_file(face, "ttf")
    (count,) = struct.unpack_from(">H", file, 4)
    records = (struct.unpack_from(">4s3I", file, 12 + 16 * k) for k in range(count))
    return {tag.decode(): place for tag, _, place, _ in records}, file


def _simple(file: bytes, place: int) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]]:
    """Read points of each contour, and which of them lie on it."""
    (count,) = struct.unpack_from(">h", file, place)
    ends = struct.unpack_from(f">{count}H", file, place + 10)
    place += 10 + 2 * count
    place += 2 + struct.unpack_from(">H", file, place)[0]
    flags: list[int] = []
    while len(flags) <= ends[-1]:
        flag, place = file[place], place + 1
        repeats = file[place] if flag & REPEAT else 0
        place += bool(flag & REPEAT)
        flags += [flag] * (1 + repeats)
    columns = []
    for short, same in zip(SHORT, SAME, strict=True):
        steps = []
        for flag in flags:
            if flag & short:
                steps.append(file[place] if flag & same else -file[place])
                place += 1
            elif flag & same:
                steps.append(0)
            else:
                steps += struct.unpack_from(">h", file, place)
                place += 2
        columns.append(np.cumsum(steps))
    points, on = np.stack(columns, axis=-1), np.array(flags) & ON > 0
    cuts = np.array(ends[:-1]) + 1
    return list(zip(np.split(points, cuts), np.split(on, cuts), strict=True))


def _polygon(points: npt.NDArray[np.int64], on: npt.NDArray[np.bool_]) -> Contour:
    """Follow a contour with lines."""
    full: list[tuple[Contour, bool]] = []
    for k, point in enumerate(points):
        if not on[k] and not on[k - 1]:
            full.append(((points[k - 1] + point) / 2, True))
        full.append((np.asarray(point, np.float64), bool(on[k])))
    first = next(k for k, (_, lies) in enumerate(full) if lies)
    full = full[first:] + full[:first] + [full[first]]
    t = np.linspace(0, 1, PIECES + 1)[1:, None]
    polygon = [full[0][0][None]]
    for (a, _), (b, lies), (c, _) in zip(full[:-1], full[1:], [*full[2:], full[0]], strict=True):
        if not lies:
            polygon.append(a * (1 - t) ** 2 + 2 * b * t * (1 - t) + c * t**2)
        elif not np.array_equal(polygon[-1][-1], b):
            polygon.append(b[None])
    return np.concatenate(polygon)
