"""NumPy's functions beyond the first few, composed of rows, with rows of their own where needed.

In the order in which to read it:

- `scans`: products, running sums and products.
- `contractions`: sums of products over indices.
- `elementwise`: functions of one entry at a time.
- `joining`: stacks, splits, tiles and frames.
- `shaping`: entries moved, picked, repeated, sorted.
- `linear_algebra`: what is solved, inverted and measured.
- `reductions`: sums, means and extremes along axes.
- `special`: SciPy's special functions, where SciPy is installed.
"""

from tinygraph.engine.library import (
    contractions,
    elementwise,
    joining,
    linear_algebra,
    reductions,
    scans,
    shaping,
    special,
)

__all__ = [
    "contractions",
    "elementwise",
    "joining",
    "linear_algebra",
    "reductions",
    "scans",
    "shaping",
    "special",
]
