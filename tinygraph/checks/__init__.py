"""Evidence that can fail: gradients against differences, staged BatchNorm against its closed form.

In the order in which to read it: `guarding`, `differences`, `gradient_report`, `diagnosis`,
`gradients` (`gradcheck`);
`batches`, `by_hand`, `rational`, `reports`, `closeness`, `evidence`, `exact`,
`comparison` (`compare`).
"""

from tinygraph.checks.comparison import compare
from tinygraph.checks.gradient_report import GradientMismatch
from tinygraph.checks.gradients import gradcheck

__all__ = ["GradientMismatch", "compare", "gradcheck"]
