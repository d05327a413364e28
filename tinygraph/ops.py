"""The table of primitives under its public name; see `tinygraph.engine.ops`."""

from tinygraph.engine import library, ops
from tinygraph.engine.primitive import TABLE, Primitive

__all__ = ["Primitive"]

_HOMES = (ops.__name__, library.__name__)

globals().update({name: row for name, row in TABLE.items() if row.home.startswith(_HOMES)})
