"""The command line: parses, calls, prints.

In the order in which to read it: `inputs` (files of numbers), `files` (what may be written over),
`targets` (a function named on the command line), `commands` (`main`).
"""

from tinygraph.cli.commands import main

__all__ = ["main"]
