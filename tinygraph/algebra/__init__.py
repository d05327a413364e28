"""What a graph says as mathematics: proofs of a backward pass, and closed forms derived.

In the order in which to read it. A person's backward pass: `spelling` (the names of gradients),
`watching` (a function line by line), `copying` (what holds tensors), `conventions` (parameters and
results), `slots` (what a backward pass is given), `calling` (both passes). Polynomials: `atoms`
(with indices), `arithmetic` (sums and products), `polynomials` (sums over labels), `elementwise`
(what operations are on them), `keys` (of indices), `axes` (which axes are one), `reading` (a graph
as polynomials), `lengths` (what a number is at all lengths), `cutting` (axes), `expansion` (taking
apart, and the test for zero), `evaluation` (their values). For `prove`: `pairs` (two graphs of one
gradient), `settings` (with which lengths free), `premises` (what the code was told), `verdicts`,
`numbers` (what refutes). For `simplify`: `expressions` (formulas as trees), `wording` (in the
user's names), `extraction` (the cheapest), `emission` (as a graph), `derived`. And both of them:
`proof`, `derivation`.
"""

from tinygraph.algebra.derivation import simplify
from tinygraph.algebra.proof import prove

__all__ = ["prove", "simplify"]
