"""The table of primitives under its public name; see `tinygraph.engine.ops`."""

from tinygraph.engine import ops as _rows
from tinygraph.engine.primitive import TABLE, Primitive

__all__ = ["Primitive"]

globals().update({name: row for name, row in vars(_rows).items() if row is TABLE.get(name)})
