"""How a picture fits a page: which way values flow, and whether side chains are folded.

A side chain leaves the main line and joins it again. Between the two the main line is as long as
the chain is; where the road on which it joins again does not say that its head stands behind its
tail, the chain lies over a main line as short as it can be, and that one road runs back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from statistics import mean

from tinygraph.drawing.layout import RenderingError, place
from tinygraph.drawing.rendering import Picture
from tinygraph.drawing.sheet import NUMBER, Road, Sheet

__all__ = ["PAGE", "fitting", "fold", "the_right_way_up"]

PAGE = 628.5
"""Width of a picture on a code host's page, in points: 838 px."""

LEGIBLE = 7.5  # points, which are 10 px
SHORTEST = 3  # blocks of a chain that is worth folding


def fitting(make: Callable[[str], Sheet], directions: Iterable[str], width: float) -> Picture:
    """Give the first picture that is legible at a width, or else the most legible one.

    Parameters
    ----------
    make : callable
        Gives the sheet for a direction.
    directions : iterable of str
        In order of preference; each is tried as it is, and folded.
    width : float
        In points.

    Returns
    -------
    Picture
    """
    measured: list[tuple[float, Picture]] = []
    for direction in directions:
        sheet = the_right_way_up(make(direction))
        sheet.width = width
        for tried in filter(None, (sheet, fold(sheet))):
            picture = Picture.of(tried)
            try:
                natural = picture.natural_width()
            except RenderingError:  # nothing can tell, so the first is as good as any
                return picture
            if natural * LEGIBLE <= width * NUMBER:
                return picture
            measured.append((natural, picture))
    return min(measured, key=lambda pair: pair[0])[1]


def the_right_way_up(sheet: Sheet) -> Sheet:
    """Where Graphviz lays out below what shall lie above, mirror it.

    Parameters
    ----------
    sheet : Sheet

    Returns
    -------
    Sheet
    """
    if not sheet.above:
        return sheet
    try:
        places = place(Picture.of(sheet).source)
    except RenderingError:  # nothing can tell
        return sheet
    across = 0 if sheet.upright else 1
    middles: tuple[list[float], list[float]] = [], []
    for key, block in sheet.blocks.items():
        if block.scope:
            middles[block.scope[0] == sheet.above].append(places.blocks[key][across])
    if not all(middles) or mean(middles[1]) <= mean(middles[0]):
        return sheet
    return replace(sheet, is_mirrored=True)


def fold(sheet: Sheet) -> Sheet | None:
    """Let side chains lie over the main line; None where there is none.

    Parameters
    ----------
    sheet : Sheet

    Returns
    -------
    Sheet or None
    """
    main = {key for road in sheet.roads if road.main for key in (road.tail, road.head)}
    length = _chains(sheet.roads, main)
    roads = [
        replace(road, free=True) if _rejoins(road, main, length) else road for road in sheet.roads
    ]
    if not any(road.free for road in roads):
        return None
    return replace(sheet, roads=roads)


def _chains(roads: list[Road], main: set[str]) -> dict[str, int]:
    """Count the blocks from the main line to each block beside it; 0 where no way leads there.

    Roads stand in no order of their own, so the count grows until it stays.
    """
    length: dict[str, int] = {}
    growing = True
    while growing:
        growing = False
        for road in roads:
            start = 0 if road.tail in main else length.get(road.tail)
            if road.head in main or start is None:
                continue
            if length.get(road.head, 0) < start + 1:
                length[road.head], growing = start + 1, True
    return length


def _rejoins(road: Road, main: set[str], length: dict[str, int]) -> bool:
    return road.head in main and length.get(road.tail, 0) >= SHORTEST
