"""The explorer: one page on which a person steps through a graph with real numbers.

In the order in which to read it: `payload` (what a page embeds), ``arrays.js``, ``values.js`` and
``compute.js`` (which compute all numbers from it).
"""

__all__: list[str] = []
