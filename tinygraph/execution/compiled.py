"""`compile`: a function that is called as it was, and runs without the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import RLock
from typing import Any

import numpy as np

from tinygraph.engine.autodiff import is_discrete
from tinygraph.engine.recording import entered
from tinygraph.engine.tensor import Tensor
from tinygraph.execution.environment import Environment
from tinygraph.execution.forms import OUTPUT, Form
from tinygraph.execution.layouts import argument_names, fitting, key_of
from tinygraph.execution.program import Program
from tinygraph.execution.recordings import (
    Recording,
    check_premises,
    check_repeats,
    folded,
    is_traced,
    unfolded,
)
from tinygraph.execution.replay import Replay
from tinygraph.execution.training import Steps
from tinygraph.graph.snapshot import Graph

__all__ = ["Compiled", "compile"]
