"""Languages: how operations, names and numbers are written, and one printer for all of them.

A row of the table says how its operation is written in each language (see
`tinygraph.engine.primitive.Primitive`); what a language adds is how tightly operations bind, what
brackets look like, and how names and numbers are written. A further language is one more
`Language` and, where its rows differ from those of the others, one more template per row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from string import Formatter
from typing import Any, NamedTuple

from tinygraph.engine.autodiff import reachable
from tinygraph.engine.primitive import BINDINGS, Primitive
from tinygraph.graph.nodes import Node
from tinygraph.writing import latex, mathml

__all__ = [
    "LATEX",
    "MATHML",
    "NUMPY",
    "SPOKEN",
    "TEXT",
    "Form",
    "Formulary",
    "Language",
    "Printer",
    "Written",
    "form",
]


class Written(NamedTuple):
    """An expression, how tightly it binds (one of `Language.levels`), whether a minus leads it."""

    text: str
    binds: str
    signed: bool = False


class Form(NamedTuple):
    """A template taken apart: literal text, operands with what they need, parameters.

    Attributes
    ----------
    parts : tuple
        Of each part: text in front of it, position of an operand or name of a parameter (None at
        the end), and how tightly the operand must bind to stand there without brackets.
    """

    parts: tuple[tuple[str, int | str | None, str], ...]

    def need(self, position: int) -> str:
        """Give what an operand needs; empty where anything will do."""
        return next((need for _, field, need in self.parts if field == position), "")

    @property
    def lists(self) -> bool:
        """Whether it takes any number of operands, with commas between them."""
        return any(field == "operands" for _, field, _ in self.parts)

    def fill(self, operand: Callable[[int, str], str], params: Mapping[str, str]) -> str:
        """Write the parts one after the other."""
        text = ""
        for literal, field, need in self.parts:
            text += literal
            if isinstance(field, int):
                text += operand(field, need)
            elif field is not None:
                text += params[field]
        return text


@cache
def form(template: str) -> Form:
    """Take a template apart.

    Examples
    --------
    >>> form("{0:sum} + {1:matmul}").need(1)
    'matmul'
    """
    return Form(
        tuple(
            (literal, int(field) if field and field.isdecimal() else field, need or "")
            for literal, field, need, _ in Formatter().parse(template)
        )
    )


@dataclass(frozen=True, kw_only=True)
class Language:
    """How one language writes operations.

    Attributes
    ----------
    key : str
        Under which rows of the table hold their templates for it.
    levels : tuple of str
        How tightly expressions bind, loosest first.
    brackets : str
        Template that holds an expression together.
    default : callable
        Gives the template of an operation whose row has none, or nothing.
    kin : str, optional
        Key of the language whose template does instead, changed by `adapted`.
    adapted : callable, optional
    comma : str
        Stands between operands.
    """

    key: str
    levels: tuple[str, ...]
    brackets: str
    default: Callable[[Primitive], str]
    kin: str = ""
    adapted: Callable[[str], str] = str
    comma: str = ", "

    def written(self, op: Any, node: Any) -> tuple[Form, str]:
        """Give the form of an operation, and how tightly it binds.

        Raises
        ------
        ValueError
            If it has none.
        """
        is_kin = self.key not in op.written and self.kin in op.written
        key = self.kin if is_kin else self.key
        template = op.written.get(key)
        if template is None:
            template = self.default(op)
            if not template:
                raise ValueError(
                    f"{op.name} has no {self.key} form; give the primitive one: "
                    f'Primitive({op.name!r}, …, {self.key}="…")'
                )
            return form(template), "call"
        template = template if isinstance(template, str) else template(node)
        return form(self.adapted(template) if is_kin else template), op.binds.get(key, "call")

    def bracketed(self, written: Written, need: str) -> str:
        """Put brackets around what binds less tightly than it must."""
        if not need or self.levels.index(written.binds) >= self.levels.index(need):
            return written.text
        return self.brackets.format(written.text)


@dataclass(frozen=True, kw_only=True)
class Formulary(Language):
    """A language of mathematics, for eyes.

    Attributes
    ----------
    name, number : callable
        How a variable and a number are written.
    exact_name : callable
        How a variable is written that `name` writes like another one.
    linked : callable
        How a written variable is linked to its value, given its name first.
    parameter : callable
        How a parameter is written that is plain text.
    operator : callable
        How the name of an operation is written in a call.
    gradient : callable
        How the gradient of a written variable is written, given also what its own name ends in.
    axes : callable
        How the axes are written that a sum runs along.
    minus, plus : str
        The sign of what is negative, and what stands between the terms of a sum.
    inline : str
        What stands in the middle of a sentence, with ``{}``.
    length : callable
        Counts the characters that are seen.
    ellipsis : str
        Stands for what is too long.
    call : str
        A call, with ``{name}`` and ``{operands}``.
    scaled_sum : str
        1/n · Σ, with ``{n}``, ``{axes}`` and ``{0}``.
    ratio, batch : str
        1/n, with ``{n}``, and N.
    sum_along, sum_along_means : str
        The sign of a sum, with ``{}`` for its axes, and what it means, with ``{}`` for their list.
    sigmoid, sigmoid_means, elementwise, elementwise_means, flip, flip_means : str
        σ(z), a product of entries beside products of matrices, and the transpose of a stack of
        matrices, with what they mean; empty where that needs no word.
    times : str
        A product of entries where there are products of matrices; empty where it is like others.
    colon : str
        Stands between the ends of a slice.
    root : str
        √n, with ``{n}``.
    """

    name: Callable[[str], str]
    number: Callable[[str], str]
    exact_name: Callable[[str], str]
    linked: Callable[[str, str], str]
    parameter: Callable[[str], str]
    operator: Callable[[str], str]
    gradient: Callable[[str, str], str]
    axes: Callable[[Iterable[int]], str]
    minus: str
    plus: str
    inline: str
    length: Callable[[str], int]
    ellipsis: str
    call: str
    scaled_sum: str
    ratio: str
    batch: str
    sum_along: str
    sum_along_means: str
    sigmoid: str
    sigmoid_means: str
    elementwise: str
    elementwise_means: str
    flip: str
    flip_means: str
    times: str
    colon: str
    root: str


def _unlinked(name: str, written: str) -> str:
    return written


TEXT = Formulary(
    key="text",
    levels=BINDINGS,
    brackets="({})",
    default=lambda op: "{name}({operands})",
    call="{name}({operands})",
    name=str,
    number=str,
    exact_name=str,
    linked=_unlinked,
    parameter=str,
    operator=str,
    gradient="d{}{}".format,
    axes=lambda axes: "".join("₀₁₂₃₄₅₆₇₈₉"[int(c)] for c in "".join(map(str, axes))),
    minus="−",
    plus=" + ",
    inline="{}",
    length=len,
    ellipsis="…",
    scaled_sum="1/{n} Σ{axes} {0:product}",
    ratio="1/{n}",
    batch="N",
    sum_along="Σ{}",
    sum_along_means="sum along {}",
    sigmoid="σ(z)",
    sigmoid_means="1/(1 + exp(−z))",
    elementwise="",
    elementwise_means="",
    flip="aᵀ",
    flip_means="the last two axes of a swapped",
    times="",
    colon=":",
    root="√{n}",
)
SPOKEN = replace(
    TEXT,
    elementwise="a ⊙ b",
    elementwise_means="entry by entry",
    times="{0:minus} ⊙ {1:sigma}",
)
"""Text that says sign by sign what stands in a formula that is set."""
LATEX = Formulary(
    key="latex",
    levels=BINDINGS,
    brackets=r"\left({}\right)",
    default=lambda op: r"{name}\left({operands}\right)",
    call=r"{name}\left({operands}\right)",
    name=latex.name,
    number=latex.number,
    exact_name=latex.exact_name,
    linked=_unlinked,
    parameter=str,
    operator=latex.operator,
    gradient=latex.gradient,
    axes=latex.axes,
    minus="-",
    plus=" + ",
    inline="${}$",
    length=latex.length,
    ellipsis=r"\ldots",
    scaled_sum=r"\frac{{1}}{{{n}}} \sum{axes} {0:product}",
    ratio=r"\frac{{1}}{{{n}}}",
    batch="N",
    sum_along=r"\sum{}",
    sum_along_means=r"\text{{sum along {}}}",
    sigmoid=r"\sigma\left(z\right)",
    sigmoid_means=r"\frac{1}{1 + \exp\left(-z\right)}",
    elementwise=r"a \odot b",
    elementwise_means=r"\mathrm{entry\ by\ entry}",
    flip=r"a^{\top}",
    flip_means=r"\mathrm{the\ last\ two\ axes\ of}\ a\ \mathrm{swapped}",
    times=r"{0:minus} \odot {1:sigma}",
    colon="{:}",
    root=r"\sqrt{{{n}}}",
)
MATHML = Formulary(
    key="mathml",
    levels=BINDINGS,
    brackets="<mrow><mo>(</mo>{}<mo>)</mo></mrow>",
    default=lambda op: "<mrow>{name}<mo>(</mo>{operands}<mo>)</mo></mrow>",
    kin="text",
    adapted=mathml.from_text,
    call="<mrow>{name}<mo>(</mo>{operands}<mo>)</mo></mrow>",
    comma="<mo>,</mo>",
    name=mathml.name,
    number=mathml.number,
    exact_name=mathml.exact_name,
    linked=mathml.linked,
    operator=mathml.operator,
    parameter=mathml.parameter,
    gradient=mathml.gradient,
    axes=mathml.axes,
    minus='<mo form="prefix">−',
    plus="<mo>+</mo>",
    inline="<math>{}</math>",
    length=mathml.length,
    ellipsis="<mo>…</mo>",
    scaled_sum="<mfrac><mn>1</mn><mrow>{n}</mrow></mfrac>"
    "<munder><mo>∑</mo><mrow>{axes}</mrow></munder>{0:product}",
    ratio="<mfrac><mn>1</mn><mrow>{n}</mrow></mfrac>",
    batch='<mi class="i">N</mi>',
    sum_along="<munder><mo>∑</mo><mrow>{}</mrow></munder>",
    sum_along_means="<mtext>sum along {}</mtext>",
    sigmoid='<mrow><mi>σ</mi><mo>(</mo><mi class="i">z</mi><mo>)</mo></mrow>',
    sigmoid_means="<mfrac><mn>1</mn><mrow><mn>1</mn><mo>+</mo><mi>exp</mi><mo>(</mo><mo>−</mo>"
    '<mi class="i">z</mi><mo>)</mo></mrow></mfrac>',
    elementwise='<mrow><mi class="i">a</mi><mo>⊙</mo><mi class="i">b</mi></mrow>',
    elementwise_means="<mtext>entry by entry</mtext>",
    flip='<msup><mi class="i">a</mi><mo>⊤</mo></msup>',
    flip_means='<mrow><mtext>the last two axes of\N{NO-BREAK SPACE}</mtext><mi class="i">a</mi>'
    "<mtext>\N{NO-BREAK SPACE}swapped</mtext></mrow>",
    times="{0:minus}<mo>⊙</mo>{1:sigma}",
    colon=":",
    root="<msqrt><mn>{n}</mn></msqrt>",
)
NUMPY = Language(
    key="numpy",
    # Python's minus binds more tightly than its product: -a * b is (-a) * b.
    levels=("comparison", "sum", "matmul", "product", "minus", "power", "call"),
    brackets="({})",
    default=lambda op: f"np.{op.of[0].__name__}({{operands}})" if op.of else "",
)


class Printer:
    """Writes nodes in one language; unnamed nodes are written out inside their consumer.

    Subclasses say how what is not composed is written: variables, constants, parameters.
    """

    def __init__(self, language: Language) -> None:
        self.language = language
        self._inlined: dict[int, Written] = {}

    def operand(self, node: Node, consumer: Node) -> Written:
        """Write what stands in an expression of `consumer`."""
        raise NotImplementedError

    def params(self, node: Node) -> dict[str, str]:
        """Write the parameters of an operation, as its template mentions them."""
        raise NotImplementedError

    def stands_alone(self, node: Node) -> bool:
        """Whether a node is referred to and not written out."""
        return node.op is None or node.name is not None or node.index in self._inlined

    def expression(self, node: Node) -> list[Node]:
        """Give a node and what is to be written out inside it, in their order; no recursion."""
        return reachable([node], enter=lambda x: not self.stands_alone(x))

    def bracketed(self, node: Node, consumer: Node, need: str, position: int = 0) -> str:
        """Write an operand, in brackets where it would fall apart."""
        return self.language.bracketed(self.operand(node, consumer), need)

    def fill(self, form: Form, node: Node, inputs: Iterable[Node]) -> str:
        """Write a form with its operands and parameters."""
        operands = tuple(inputs)
        params = self.params(node)
        if form.lists:
            params["operands"] = self.language.comma.join(
                self.bracketed(x, node, "") for x in operands
            )
        return form.fill(lambda k, need: self.bracketed(operands[k], node, need, k), params)
