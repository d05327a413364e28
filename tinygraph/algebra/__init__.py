"""What a graph says as mathematics, and a backward pass that a person wrote beside it.

In the order in which to read it: `spelling` (the names of gradients), `watching` (a function line
by line), `copying` (what holds tensors),
`conventions` (parameters and results), `calling` (a forward function and its backward pass).
"""

__all__: list[str] = []
