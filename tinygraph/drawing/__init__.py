"""A graph as a picture.

In the order in which to read it: `typography` (how wide a text is), `rendering` (DOT text into
files), `boxes` (what is shown as one), `canvas` (how it looks), `views` (`draw`: which boxes and
arrows there are).
"""

from tinygraph.drawing.rendering import Picture, RenderingError
from tinygraph.drawing.views import draw

__all__ = ["Picture", "RenderingError", "draw"]
