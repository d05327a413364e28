"""The explorer: one page on which a person steps through a graph with real numbers.

In the order in which to read it: `payload` (what a page embeds), `pictures`, `reports`, and `page`
(`explore`, which puts a page together). Of the page itself, ``page.html`` and ``page.css``, then
what computes, ``arrays.js``, ``values.js``, ``keys.js`` and ``library.js`` (which a page has if its
graph needs them), ``compute.js`` and ``plugged.js``, and what shows: ``words.js``, ``model.js``,
``stops.js``, ``walk.js``, ``picture.js``, ``entries.js``, ``heatmaps.js``, ``tables.js``,
``paths.js``, ``report.js`` and ``page.js``.
"""

from tinygraph.explorer.page import Page, explore

__all__ = ["Page", "explore"]
