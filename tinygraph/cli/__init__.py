"""The command line: parses, calls, prints.

In the order in which to read it: `inputs` (files of numbers), `outputs` (what may be written over),
`targets` (a function named on the command line), `arguments` (commands and options), `batches`
(BatchNorm of what no memory holds), `commands` (what each of them does), `entry` (the process
around it).
"""

from tinygraph.cli.entry import main

__all__ = ["main"]
