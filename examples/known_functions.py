"""Write the table of NumPy functions that work on Tensors into examples/README.md.

python examples/known_functions.py            # prints it
python examples/known_functions.py --write    # replaces the one in the page
"""

import argparse
from pathlib import Path

import numpy as np

from tinygraph.engine.alternatives import INSTEAD
from tinygraph.engine.library.special import ROWS
from tinygraph.engine.methods import Methods
from tinygraph.engine.primitive import NUMPY, Primitive
from tinygraph.engine.stacking import CONVERSIONS, FIRST_IS_AN_ARRAY

PAGE = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- known functions -->", "<!-- end -->"
UNSUPPORTED = {
    "np.fft.*": "of real tensors they are complex, and what follows is not holomorphic",
    "np.angle": "not holomorphic, as np.abs of complex tensors",
    "np.cbrt": "left as the example of a row of your own",
    "np.digitize, np.histogram, np.searchsorted, np.unique": "no gradient: call it on t.data",
    "np.linalg.eig, np.linalg.eigvals": "of real matrices they are complex; np.linalg.eigh is not",
    "np.nditer, np.vectorize, np.apply_along_axis": "write it over whole arrays",
    "np.polyfit, np.unwrap, np.interp, np.gradient": "rarely asked for: say so, if you do",
    "np.random.*": "of a tensor for a parameter: loc + scale * np.random.randn(…)",
    "scipy.special.logsumexp, scipy.special.log_softmax": "they write in place",
    "scipy.stats.*": "they make arrays of their arguments",
}
"""What NumPy and SciPy have, tensors have not, and why."""


def names(functions) -> str:
    """List functions as a person calls them."""
    paths = ((f, getattr(f, "__module__", "numpy") or "numpy") for f in functions)
    found = {f"`{home.replace('numpy', 'np', 1)}.{f.__name__}`" for f, home in paths}
    return ", ".join(sorted(found))


def methods() -> str:
    """List the methods of an array that a tensor has."""
    return ", ".join(f"`t.{name}`" for name in sorted(vars(Methods)) if name[0] != "_")


def table() -> str:
    """Give the table, from what the engine knows; rows of a user's own are left out."""
    ours = {
        f: known
        for f, known in NUMPY.items()
        if not (isinstance(known, Primitive) and not known.home.startswith("tinygraph"))
    }
    rules = {f for f, known in ours.items() if isinstance(known, Primitive) and known.rules}
    constant = {f for f, known in ours.items() if isinstance(known, Primitive)} - rules
    composed = set(ours) - rules - constant
    ufuncs = {f for f in composed if isinstance(f, np.ufunc)}
    rows = [
        (
            "operators",
            "`+` `-` `*` `/` `//` `%` `**` `@` `[ ]` `abs` `-t` `<` `<=` `>` `>=` `==` `!=`",
        ),
        ("a primitive each", names(rules)),
        ("composed, elementwise or products", names(ufuncs)),
        ("composed, over axes and of shape", names(composed - ufuncs)),
        ("constant almost everywhere", names(constant)),
        ("methods", f"{methods()}, `t.T`"),
        ("lists of tensors, inside `trace`", ", ".join(f"`np.{name}`" for name in stacking())),
        ("SciPy's, where it is installed", ", ".join(f"`scipy.special.{k}`" for k in sorted(ROWS))),
        *((f"not: {which}", why) for which, why in UNSUPPORTED.items()),
        *((f"not: `{which}`", f"write `{how}`") for which, how in INSTEAD.items()),
    ]
    return "\n".join(["| | |", "|---|---|", *(f"| {what} | {which} |" for what, which in rows)])


def stacking():
    """List the functions that take lists of tensors."""
    return sorted([*CONVERSIONS, *FIRST_IS_AN_ARRAY, "c_", "r_"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="into examples/README.md")
    if not parser.parse_args().write:
        print(table())
        return
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{table()}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
