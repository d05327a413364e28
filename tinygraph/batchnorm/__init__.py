"""BatchNorm, the subject: staged in nine steps, in closed form, as a Jacobian, as one primitive.

In the order in which to read it: `formulas` (the three derivations), `primitive` (the closed form
as the rule of a single node).
"""

from tinygraph.batchnorm.formulas import closed_form, jacobian, staged
from tinygraph.batchnorm.primitive import normalize

__all__ = ["closed_form", "jacobian", "normalize", "staged"]
