"""Evidence that can fail: gradients against differences, staged BatchNorm against its closed form.

In the order in which to read it: `guarding`, `differences`, `gradient_report`, `diagnosis`,
`magnitudes`, `gradients` (`gradcheck`);
`batches`, `by_hand`, `rational`, `reports`, `closeness`, `evidence`, `exact`,
`comparison` (`compare`);
`reference`, `marking`, `variants`, `repairs`, `mending`, `blaming`, `line_reports`,
`own_backward` (`check`).
"""

from tinygraph.checks.comparison import compare
from tinygraph.checks.gradient_report import GradientMismatch
from tinygraph.checks.gradients import gradcheck
from tinygraph.checks.own_backward import check

__all__ = ["GradientMismatch", "check", "compare", "gradcheck"]
