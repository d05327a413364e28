"""Write the table of NumPy functions that work on Tensors into examples/README.md.

python examples/known_functions.py            # prints it
python examples/known_functions.py --write    # replaces the one in the page
"""

import argparse
from pathlib import Path

import numpy as np

from tinygraph.engine.primitive import NUMPY, Primitive

PAGE = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- known functions -->", "<!-- end -->"
METHODS = ("reshape", "transpose", "astype", "sum", "mean", "max", "min", "var", "std", "squeeze")


def names(functions) -> str:
    return ", ".join(sorted({f"`np.{f.__name__}`" for f in functions}))


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
        ("operators", "`+` `-` `*` `/` `**` `@` `[ ]` `abs` `-t` `<` `<=` `>` `>=` `==` `!=`"),
        ("a primitive each", names(rules)),
        ("composed, elementwise or products", names(ufuncs)),
        ("composed, over axes and of shape", names(composed - ufuncs)),
        ("constant almost everywhere", names(constant)),
        ("methods", ", ".join(f"`t.{name}`" for name in METHODS) + ", `t.T`"),
    ]
    return "\n".join(["| | |", "|---|---|", *(f"| {what} | {which} |" for what, which in rows)])


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
