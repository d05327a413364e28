"""Batches larger than memory: a plan's sweeps, block of rows by block of rows.

BatchNorm and its gradients take three sweeps: x | x, dout | x, dout → out, dx. Each goes once over
the blocks; what a block adds to the sums over rows is kept, and the block is not. Vectors, such as
the mean, stay in memory between the sweeps. Nothing of the size of x is ever stored but what is
asked for, so that x is read three times and dout twice, and memory holds a few blocks.

The reduction over blocks is a tree
-----------------------------------
Neighbouring blocks are added up, then pairs, then pairs of pairs. How the sums are joined depends
on the blocks and not on who computes them: one process and a cluster give the same bits. Within a
block, float32 is added up in float64, in which the sums stay until all rows are in.

It is what *synchronized BatchNorm* computes. There, every worker has its part of the batch, and two
vectors of D numbers cross between workers in each reduction: Σx and Σ(x − mu)² forwards, Σdout and
Σ dout·(x − mu) backwards. Here the mean is known before the deviations from it are squared (Σx² less
N·mu² would save a sweep, and lose all digits where the mean is large), which puts Σx alone into the
first sweep and the other three into the second: 4 vectors of D float64 up and as many down, 64 D
bytes for a worker in all, however many rows it has. At D = 1000 these are 64 KB, for blocks of many
megabytes.

At a thousand workers the bytes are still nothing: each sends one partial sum up the tree, and gets
the vectors once. What changes is the wait. The tree is ten levels deep, each a message; sweep k + 1
begins when the slowest worker is done with sweep k; and one scheduler hands out every block, at
about a millisecond each: take blocks that are worth a second of work, not more blocks than need be.
Nor can any worker normalize before all have been heard, which is why frameworks synchronize only if
they are asked to; with many rows for each worker, its own statistics are good enough.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygraph.engine.autodiff import reachable
from tinygraph.execution.clusters import Cluster, Here, Progress, Runner, is_lazy
from tinygraph.execution.elsewhere import elsewhere
from tinygraph.execution.panels import Kernel, Sums, computed, kernel_of, standing, step_of
from tinygraph.execution.plan import Plan
from tinygraph.execution.program import Program, Unsupported
from tinygraph.execution.regions import Region, Result, Sweep
from tinygraph.execution.stores import Source, Target, opened, rows_axis, target
from tinygraph.execution.values import Value
from tinygraph.graph.nodes import Node
from tinygraph.graph.snapshot import Graph
