"""Random programs that write in place, and whether `trace` computes what NumPy does.

A program is grown statement by statement, each tried on plain arrays first: what NumPy refuses is
left out, and the shapes of all variables are known. Programs alias arrays, take views of views,
write through slices with steps, masks and repeated indices, swap, loop, and hold their arrays in
lists, dicts, closures and attributes.

`judge` runs one under NumPy and under `trace`: every returned number must be the same in every bit,
and every gradient that of the complex step of the plain program. Arrays are made of the dtype of
the argument, so that the same text runs on complex numbers.
"""

import random
import warnings

import numpy as np
from helpers import same_bits

from tinygraph import Tensor, grad, trace

__all__ = ["Program", "Verdict", "grown", "judge"]

SHAPES = [(3,), (4,), (2, 3), (3, 3), (3, 2), (4, 3)]
MOST_STATEMENTS = 14
STEP = 1e-30
REFUSALS = (TypeError, ValueError)  # that say so


class Box:
    """Something with attributes."""


class Grower:
    """Grows one program."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        rng = np.random.default_rng(seed)
        shapes = [self.random.choice(SHAPES) for _ in range(2)]
        self.args = [rng.normal(size=s) * 0.7 for s in shapes]
        self.lines = []
        self.env = {"np": np, "Box": Box, "x": self.args[0].copy(), "y": self.args[1].copy()}
        self.count = 0

    # ------------------------------------------------------------------ parts

    def new(self):
        self.count += 1
        return f"v{self.count}"

    def arrays(self):
        """Give expressions for the arrays there are, in variables and in containers."""
        found = []
        for name, value in self.env.items():
            if isinstance(value, np.ndarray) and value.dtype.kind == "f":
                found.append(name)
            elif isinstance(value, list | tuple):
                found += [f"{name}[{k}]" for k, x in enumerate(value) if isinstance(x, np.ndarray)]
            elif isinstance(value, dict) and name not in ("__builtins__",):
                found += [f"{name}[{k!r}]" for k, x in value.items() if isinstance(x, np.ndarray)]
            elif isinstance(value, Box):
                found += [
                    f"{name}.{k}" for k, x in vars(value).items() if isinstance(x, np.ndarray)
                ]
        return found

    def value(self, text):
        return eval(text, self.env)

    def pick(self, *, ndim=0):
        fitting = [a for a in self.arrays() if self.value(a).ndim >= ndim]
        return self.random.choice(fitting or ["x"])

    def basic(self, shape):
        r = self.random
        parts = []
        for n in shape[: r.randint(1, max(len(shape), 1))]:
            i, j = sorted(r.sample(range(n + 1), 2)) if n else (0, 0)
            parts.append(
                r.choice(
                    [
                        str(r.randrange(max(n, 1))),
                        str(-r.randint(1, max(n, 1))),
                        ":",
                        f"{i}:{j}",
                        f"{i}:",
                        f":{j}",
                        "::2",
                        "::-1",
                        f"{j}:{i}:-1",
                        "...",
                        "None",
                    ]
                )
            )
        if parts.count("...") > 1:
            parts = [p for p in parts if p != "..."] + ["..."]
        return ", ".join(parts) or "..."

    def fancy(self, shape):
        r = self.random
        n = shape[0]
        some = [r.randrange(n) for _ in range(r.randint(1, 4))]
        kinds = [str(some), f"np.array({some})"]
        if len(shape) > 1:
            k = min(n, shape[1])
            kinds += [
                f"np.arange({k}), {[r.randrange(shape[1]) for _ in range(k)]}",
                f":, {[r.randrange(shape[1]) for _ in range(2)]}",
                f"{r.randrange(n)}, {[r.randrange(shape[1]) for _ in range(2)]}",
                f"{some}, {r.randrange(shape[1])}:",
                f"np.array({some}), ..., 0",
            ]
        return r.choice(kinds)

    def mask(self, a):
        r = self.random
        n = self.value(a).shape
        return r.choice(
            [
                f"{a} > 0",
                f"{a} < 0.2",
                f"{a} >= 0.1",
                f"np.array({[bool(r.randrange(2)) for _ in range(n[0])]})",
            ]
        )

    def key(self, a):
        shape = np.shape(self.value(a))
        if not shape:
            return "..."
        p = self.random.random()
        if p < 0.7 or 0 in shape:
            return self.basic(shape)
        return self.fancy(shape) if p < 0.9 else self.mask(a)

    def factor(self):
        return self.random.choice(["0.5", "-0.3", "0.9", "1.5", "2", "0"])

    def expression(self, depth=0):
        r = self.random
        p = r.random()
        if p < 0.15 or depth > 2:
            return self.factor()
        a = self.pick()
        if p < 0.45:
            return r.choice([a, f"{a}[{self.key(a)}]"])
        if p < 0.8:
            b = self.expression(depth + 1)
            return f"({a} {r.choice('+-*')} {b})"
        return r.choice(
            [
                f"np.tanh({a})",
                f"np.sin({a})",
                f"{a}.sum()",
                f"{a}.mean(axis=0)",
                f"{a}.T",
                f"-{a}",
                f"{a}[::-1]",
                f"np.sum({a}, axis=-1)",
                f"{a} * {self.factor()}",
                f"{a}.reshape(-1)",
            ]
        )

    # ------------------------------------------------------------------ statements

    def made(self):
        r = self.random
        shape = r.choice(SHAPES)
        a = self.pick()
        return r.choice(
            [
                f"np.zeros({shape}, x.dtype)",
                f"np.ones({shape}, dtype=x.dtype)",
                f"np.zeros_like({a})",
                f"np.full({shape}, 0.25, x.dtype)",
                f"np.zeros({shape[::-1]}, x.dtype).T",
                f"np.zeros({shape}, x.dtype, order='F')",
                "np.array([0.5, -1.0, 2.0], x.dtype)",
                "np.arange(6, dtype=x.dtype).reshape(2, 3)",
                f"np.zeros({a}.shape, x.dtype)",
                "np.eye(3, dtype=x.dtype)",
            ]
        )

    def fresh_view(self):
        a = self.pick()
        shape = self.value(a).shape
        size = int(np.prod(shape))
        r = self.random
        return r.choice(
            [
                a,
                f"{a}[{self.basic(shape)}]",
                f"{a}[{self.key(a)}]",
                f"{a}.T",
                f"{a}.reshape(-1)",
                f"{a}.ravel()",
                f"np.ravel({a})",
                f"{a}.reshape({size}, 1)",
                f"{a}.reshape({shape[::-1]})",
                f"np.transpose({a})",
                f"np.swapaxes({a}, 0, -1)",
                f"{a}[::-1]",
                f"{a}[None]",
                f"{a}[..., ::-1]",
                f"np.expand_dims({a}, 0)",
                f"np.squeeze({a})",
                f"{a}.copy()",
                f"{a}.flatten()",
                f"+{a}",
                f"{a}.astype(x.dtype)",
                f"np.reshape({a}, (-1,))",
                f"np.broadcast_to({a}, (2, *{a}.shape))",
                f"{a} * 1",
                f"{a}[...]",
                f"{a}.astype(x.dtype, copy=False)",
            ]
        )

    def write(self):
        r = self.random
        a = self.pick()
        e = self.expression()
        k = self.key(a)
        sign = r.choice(["+=", "-=", "*=", "+=", "-="])
        return r.choice(
            [
                f"{a}[{k}] = {e}",
                f"{a}[{k}] {sign} {e}",
                f"{a}[{k}] = {e}",
                f"{a}[{k}] {sign} {e}",
                f"{a} {sign} {e}",
                f"{a}[...] = {e}",
                f"np.copyto({a}, {e})",
                f"{a}.fill({self.factor()})",
                f"np.add({self.pick()}, {e}, out={a})",
                f"np.multiply({a}, {e}, out={a})",
                f"np.add.at({a}, {self.value(a).shape and [0, 0, -1]}, {e})",
                f"{a}[{self.mask(a)}] = {self.factor()}",
                f"{a}[{self.mask(a)}] *= {self.factor()}",
                f"{a}[1:] = {a}[:-1]",
                f"{a}[:-1] += {a}[1:]",
                f"{a}[::-1] = {a}",
            ]
        )

    def swap(self):
        a = self.pick()
        i, j = self.random.sample([0, 1, -1], 2)
        return self.random.choice(
            [
                f"{a}[{i}], {a}[{j}] = {a}[{j}], {a}[{i}]",
                f"{a}[[{i}, {j}]] = {a}[[{j}, {i}]]",
                f"{a}[{i}], {a}[{j}] = {a}[{j}] * 1, {a}[{i}] * 1",
            ]
        )

    def loop(self):
        r = self.random
        a, b = self.pick(), self.pick()
        n, m = len(self.value(a)), len(self.value(b))
        n = min(n, m)
        v = self.new()
        f = self.factor()
        return r.choice(
            [
                f"for i in range({n}):\n    {a}[i] = {b}[i] * {f}",
                f"for i in range(1, {n}):\n    {a}[i] = {a}[i - 1] * {f} + {b}[i]",
                f"for i in range({n}):\n    {a}[i] += {b}[i]",
                f"for i in range({n - 1}):\n    {a}[i:i + 2] += {b}[i] * {f}",
                f"for i in range({n - 1}):\n    {a}[i] = {a}[i] + {a}[i + 1] * {f}",
                f"for row in {a}:\n    row *= {f}",
                f"for i in range({n}):\n    {v} = {a}[i]\n    {v} -= {b}[-i]",
                f"{v} = np.zeros(({n}, *{b}.shape), x.dtype)\nfor i in range({n}):\n"
                f"    {v}[i] = {b} * {a}[i].sum()",
                f"{v} = []\nfor i in range({n}):\n    {v}.append(np.zeros(3, x.dtype))\n"
                f"    {v}[i][:2] = {a}[i].sum()",
                f"for i in range({n}):\n    for j in range(2):\n        {a}[i, j] = {b}[j].sum()",
                f"{v} = 0.0\nfor i in range({n}):\n    {v} += {b}[i].sum()\n    {a}[i] = {v}",
            ]
        )

    def held(self):
        r = self.random
        a, b, v, w = self.pick(), self.pick(), self.new(), self.new()
        e = self.expression()
        return r.choice(
            [
                f"{v} = [{a}, {b}]",
                f"{v} = ({a}, {b})",
                f"{v} = {{'a': {a}, 'b': {b}}}",
                f"{v} = [{self.made()}, {a}]",
                f"{v} = {{'a': {self.made()}}}",
                f"{v} = Box()\n{v}.a = {a}",
                f"{v} = {w} = {self.made()}",
                f"{v} = {self.made()}\n{w} = [{v}]",
                f"{v} = [{a}]\n{v}[0] += {e}",
                f"{v} = [{a}]\n{v}[0] = {e} + {a}",
                f"{v} = {{}}\n{v}['k'] = {self.made()}",
                f"def {v}():\n    {a}[{self.key(a)}] = {e}\n{v}()",
                f"def {v}(p, q):\n    p[{self.key(a)}] = q\n    return p\n{w} = {v}({a}, {e})",
                f"def {v}(p):\n    p += {e}\n    return p\n{w} = {v}({a}[{self.key(a)}])",
                f"{v} = {self.made()}\ndef {w}():\n    return {v} * 2\n{v}[0] = {e}",
                f"{v} = {self.made()}\ndef {w}(p):\n    {v}[0] = p\n{w}({e})",
                f"{v} = Box()\n{w} = []\n{v}.a = {self.made()}\n{w}.append({v}.a)\n"
                f"{w}[0][0] = {self.factor()}",
                f"{v} = ({self.made()},)\n{w} = {{'k': {v}[0]}}\n{w}['k'] *= {self.factor()}",
                f"{v} = lambda p: p[1:]\n{w} = {v}({a})\n{w}[0] = {e}",
                f"{v} = [{b}[i] * 2 for i in range(2)]\n{v}[0] -= {self.factor()}",
                f"{v} = Box()\n{w} = {self.made()}\n{v}.a = {w}\n{w}[0] = 0.5",
                f"{v} = Box()\n{v}.a = {w} = {self.made()}\n{w}[0] = {self.factor()}",
                f"{v} = Box()\n{v}.a = {self.made()}\n{v}.a[0] = {self.factor()}",
                f"{w} = []\n{v} = {self.made()}\n{w}.append({v})\n{v}[0] = {e}",
                f"({v}, {w}) = ({self.made()}, {a}[{self.key(a)}])",
            ]
        )

    def rebound(self):
        a, v = self.pick(), self.new()
        return self.random.choice(
            [
                f"{v} = {self.expression()}",
                f"{v} = {a}[0]\n{v} += 1",
                f"{v} = {a}.sum()\n{v} *= 2",
                f"if {a}.sum() > 0:\n    {a}[0] = {self.factor()}",
                f"{v} = {a}\n{v} = {v} * 2\n{v}[0] = {self.factor()}",
                f"{v} = {a}[0:2]\ndel {v}",
                *self.in_order(a),
            ]
        )

    def ordered(self):
        """Views or copies, as the entries happen to lie in memory."""
        r = self.random
        a, b, v, w = self.pick(ndim=1), self.pick(), self.new(), self.new()
        made = r.choice(
            [
                f"{a}.T.copy()",
                f"{a}.copy()",
                f"np.zeros_like({a}.T)",
                f"{a}.T * 2",
                f"({a}.T + {b})",
                f"{a}.T[1:].T",
                f"{a}.T.flatten()",
                f"{a}[..., ::-1]",
                f"np.ones_like({a})",
                f"np.zeros((2, *{a}.shape), x.dtype)[:, 0]",
                f"np.zeros(({a}.shape[0], 2), x.dtype).T[0]",
                f"np.tanh({a}.T)",
                f"{a}.T.astype(x.dtype)",
                f"+{a}.T",
            ]
        )
        view = r.choice(
            [f"{v}.ravel()", f"{v}.reshape(-1)", f"{v}.T.ravel()", f"{v}.T.reshape(-1)", f"{v}[0:]"]
        )
        e = self.factor()
        write = r.choice([f"{w}[0] = {e}", f"{w}[1:] += {e}", f"{w} *= {e}", f"{v}[0] = {e}"])
        return f"{v} = {made}\n{w} = {view}\n{write}"

    # ------------------------------------------------------------------ growth

    def statement(self):
        r = self.random
        kind = r.choices(
            ["made", "view", "write", "swap", "loop", "held", "rebound", "ordered"],
            [2, 4, 8, 1, 2.5, 3, 1, 1.5],
        )[0]
        if kind == "made":
            return f"{self.new()} = {self.made()}"
        if kind == "view":
            return f"{self.new()} = {self.fresh_view()}"
        return getattr(self, kind)()

    def is_tame(self):
        """Whether all numbers are finite and of a size at which a tanh has a slope."""
        for text in self.arrays():
            value = self.value(text)
            if (
                value.size > 200
                or not np.isfinite(value).all()
                or np.abs(value).max(initial=0) > 30
            ):
                return False
        return True

    def grow(self):
        for _ in range(self.random.randint(3, MOST_STATEMENTS)):
            try:
                text = self.statement()
            except Exception:
                continue
            trial = [*self.lines, text]
            env = run(trial, self.args)
            if env is None:
                continue
            before, self.env = self.env, env
            if self.is_tame():
                self.lines = trial
            else:
                self.env = before
        return Program(self.lines, self.args, self.returned())

    def returned(self):
        texts = []
        for text in self.arrays():
            value = self.value(text)
            if value.dtype.kind == "f":
                texts.append(text)
        texts += [
            name for name, value in self.env.items() if isinstance(value, float | np.floating)
        ]
        return texts


def run(lines, args):
    """Run statements as a module on plain arrays; None if NumPy refuses."""
    env = {"np": np, "Box": Box, "x": args[0].copy(), "y": args[1].copy()}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec("\n".join(lines), env)
    except Exception:
        return None
    return env


class Program:
    """A function of two arrays.

    Attributes
    ----------
    text : str
    args : list of ndarrays
    """

    def __init__(self, lines, args, returned):
        body = "\n".join(lines)
        body = "".join(f"    {line}\n" for line in body.splitlines())
        self.text = f"def f(x, y):\n{body}    return ({''.join(t + ', ' for t in returned)})\n"
        self.args = args

    def function(self):
        space = {"np": np, "Box": Box}
        exec(compile(self.text, "<program>", "exec"), space)
        return space["f"]

    def plain(self, args):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return [np.array(out) for out in self.function()(*[a.copy() for a in args])]


class Verdict:
    """``agrees``, ``refused`` or ``wrong``, and why."""

    def __init__(self, kind, why=""):
        self.kind, self.why = kind, why

    def __repr__(self):
        return f"{self.kind}: {self.why}"


def grown(seed):
    """Grow the program of that seed."""
    return Grower(seed).grow()


def judge(program, seed=0):
    """Run a program under NumPy and under `trace`."""
    expected = program.plain(program.args)
    leaves = [Tensor(a) for a in program.args]
    kept = [a.copy() for a in program.args]
    try:
        outs = trace(program.function())(*leaves)
    except REFUSALS as error:
        return Verdict("refused", f"{type(error).__name__}: {error}")
    for a, b in zip(kept, program.args, strict=True):
        if not same_bits(a, b):
            return Verdict("wrong", "an argument was changed")
    for k, (out, value) in enumerate(zip(outs, expected, strict=True)):
        if not same_bits(out.data if isinstance(out, Tensor) else out, value):
            return Verdict(
                "wrong",
                f"output {k}: {out.data if isinstance(out, Tensor) else out} instead of {value}",
            )
    return judge_gradient(program, outs, leaves, seed)


def judge_gradient(program, outs, leaves, seed):
    """Compare the gradients of a random combination with those of the complex step."""
    rng = np.random.default_rng(seed)
    weights = [rng.normal(size=np.shape(out)) for out in outs]
    found = [np.zeros(leaf.shape) for leaf in leaves]
    for out, weight in zip(outs, weights, strict=True):
        if isinstance(out, Tensor):
            for total, g in zip(found, grad(out, leaves, weight), strict=True):
                total += g
    for which, total in enumerate(found):
        for place in np.ndindex(total.shape):
            args = [a.astype(complex) for a in program.args]
            args[which][place] += STEP * 1j
            moved = program.plain(args)
            slope = (
                sum(float(np.sum(w * np.imag(out))) for w, out in zip(weights, moved, strict=True))
                / STEP
            )
            if not abs(slope - total[place]) <= 1e-9 * (1 + abs(slope)):
                return Verdict("wrong", f"gradient {which} at {place}: {total[place]} for {slope}")
    return Verdict("agrees")
