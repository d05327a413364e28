"""A graph as a picture: we measure, Graphviz places, we write.

In the order in which to read it: `typography` (how wide a text is), `breaking` (what is too wide
for a line), `sheet` (what stands on a picture), `dot` (a sheet as DOT text), `layout` (where
Graphviz places it), `strokes` (arrows side by side along a road), `scene` (what is painted where),
`svg`, `pdf`, `glyphs` and `png` (the files), `rendering` (`Picture`, which puts these together),
`fitting` (for a page of some width); then `boxes` (what is shown as one), `legend` (how roles
look), `numbers` (of values), `canvas` (what is written into it) and `views` (`draw`: which boxes
and roads there are).
"""

from tinygraph.drawing.layout import RenderingError
from tinygraph.drawing.rendering import Picture
from tinygraph.drawing.views import draw

__all__ = ["Picture", "RenderingError", "draw"]
