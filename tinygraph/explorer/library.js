/*
 * The rows of NumPy's larger library, some of SciPy's special functions, and BatchNorm as one node; a
 * page has them if its graph does.
 */

Object.assign(ENTRYWISE, {
  isinf: (x) => abs(x) === Infinity,
  signbit: (x) => x < 0 || Object.is(x, -0),
  log1p: (x) => log1p(x),
  expm1: (x) => Math.expm1(x),
  log2: (x) => Math.log2(x),
  log10: (x) => Math.log10(x),
  exp2: (x) => 2 ** x,
  logaddexp: (a, b) => addedUp(a, b, Math.LN2, (x) => log1p(exp(x))),
  logaddexp2: (a, b) => addedUp(a, b, 1, (x) => log1p(2 ** x) / Math.LN2),
  tan: (x) => Math.tan(x),
  arcsin: (x) => Math.asin(x),
  arccos: (x) => Math.acos(x),
  arctan: (x) => Math.atan(x),
  arctan2: (y, x) => Math.atan2(y, x),
  hypot: (a, b) => Math.hypot(a, b),
  sinh: (x) => Math.sinh(x),
  cosh: (x) => Math.cosh(x),
  arcsinh: (x) => Math.asinh(x),
  arccosh: (x) => Math.acosh(x),
  arctanh: (x) => Math.atanh(x),
  mod: (a, b) => remainder(a, b),
  floordiv: (a, b) => quotient(a, b),
  fmod: (a, b) => a % b,
  sinc: (x, { params }) => sinc(x, params.n),

  expit: (x) => 1 / (1 + exp(-x)),
  logit: (x) => log(x / (1 - x)),
  log_expit: (x) => (x < 0 ? x - log1p(exp(x)) : -log1p(exp(-x))),
  erf: (x) => erf(x),
  erfc: (x) => erfc(x),
  ndtr: (x) => erfc(-x / Math.SQRT2) / 2,
  log_ndtr: (x) => logNdtr(x),
  xlogy: (x, y) => (x === 0 && !isNan(y) ? 0 : x * log(y)),
  xlog1py: (x, y) => (x === 0 && !isNan(y) ? 0 : x * log1p(y)),
});

Object.assign(WHOLE, {
  prod: (node, x) => reduced(node, x, 1, ENTRYWISE.mul),
  cumsum: (node, x) => scanned(node, x, ENTRYWISE.add),
  cumprod: (node, x) => scanned(node, x, ENTRYWISE.mul),
  argsort: (node, x) => sorted(node, x),
  einsum: (node, ...operands) => contracted(node, operands),

  inv: (node, a) => solved(node, a, null),
  solve: (node, a, b) => solved(node, a, b),
  det: (node, a) => measured(node, a, (pivots, sign) => pivots.reduce((p, q) => p * q, sign)),
  signdet: (node, a) =>
    measured(node, a, (pivots, sign) => pivots.reduce((s, q) => s * Math.sign(q), sign)),
  logabsdet: (node, a) =>
    measured(node, a, (pivots) => pivots.reduce((sum, q) => sum + log(abs(q)), 0)),
  cholesky: (node, a) => rooted(node, a),

  batchnorm: (node, x, gamma, beta) => normalized(node, x, gamma, beta),
});

/** log(eᵃ + eᵇ), of which the larger one is taken out. */
function addedUp(a, b, both, rest) {
  return a === b ? a + both : Math.max(a, b) + rest(-abs(a - b));
}

/** Python's remainder, which has the sign of the divisor. */
function remainder(a, b) {
  const rest = a % b;
  if (rest === 0) return b < 0 ? -0 : 0;
  return rest < 0 !== b < 0 ? rest + b : rest;
}

function quotient(a, b) {
  if (b === 0) return a / b;
  const rest = a % b;
  const x = (a - rest) / b - (rest !== 0 && rest < 0 !== b < 0 ? 1 : 0);
  return x === 0 ? 0 * (a / b) : x - floor(x) > 0.5 ? floor(x) + 1 : floor(x);
}

/** The n-th derivative of sin πx / πx; near 0 its power series, where the recurrence cancels. */
function sinc(x, n) {
  const z = Math.PI * x;
  if (n === 0) return x === 0 ? 1 : Math.sin(z) / z;
  if (abs(z) < 2 + n) {
    let [sum, term] = [0, 1]; // term: z^(k−n) / (k−n)!
    for (let k = n; k < n + 40; term *= z / (++k - n))
      if (k % 2 === 0) sum += ((k % 4 === 0 ? 1 : -1) * term) / (k + 1);
    return Math.PI ** n * sum;
  }
  let far = Math.sin(z) / z;
  for (let k = 1; k <= n; k++)
    far = (Math.PI ** (k - 1) * Math.sin(z + (k * Math.PI) / 2) - k * far) / x;
  return far;
}

/** e^(x²) · erfc(x), of x ≥ 1: a continued fraction. */
function tail(x) {
  let below = x;
  for (let k = 200; k > 0; k--) below = x + k / 2 / below;
  return 1 / (sqrt(Math.PI) * below);
}

function erf(x) {
  if (abs(x) >= 1) return Math.sign(x) * (1 - erfc(abs(x)));
  let [sum, term] = [x, x];
  for (let k = 1; k < 30; k++) {
    term *= (-x * x) / k;
    sum += term / (2 * k + 1);
  }
  return (2 / sqrt(Math.PI)) * sum;
}

const erfc = (x) => (x >= 1 ? exp(-x * x) * tail(x) : 1 - erf(x));

function logNdtr(x) {
  const z = -x / Math.SQRT2;
  return z < 1 ? log1p(-erfc(-z) / 2) : log(tail(z) / 2) - z * z;
}

function scanned(node, x, f) {
  const { within, starts } = split(x.shape, [node.params.axis]);
  const round = rounding(node.dtype);
  const out = Float64Array.from(x.data);
  for (const start of starts)
    for (let k = 1; k < within.length; k++) {
      const at = start + within[k];
      out[at] = round(f(out[start + within[k - 1]], out[at]));
    }
  return rounded(node, out);
}

/** Stable, nan last. */
function sorted(node, x) {
  const { within, starts } = split(x.shape, [node.params.axis]);
  const out = zeros(node);
  for (const start of starts) {
    const at = (k) => x.data[start + within[k]];
    const isLast = (k) => Number(isNan(at(k)));
    const order = (i, j) => isLast(i) - isLast(j) || at(i) - at(j) || i - j;
    [...within.keys()].sort(order).forEach((from, k) => (out.data[start + within[k]] = from));
  }
  return out;
}

function contracted(node, operands) {
  const [terms, result] = node.params.subscripts.split("->");
  const own = terms.split(",");
  const lengths = {};
  own.forEach((indices, k) =>
    [...indices].forEach((letter, i) => (lengths[letter] = operands[k].shape[i])),
  );
  const letters = [...new Set([...result, ...Object.keys(lengths)])];
  const shape = letters.map((letter) => lengths[letter]);
  const places = own.map((indices, k) => {
    const steps = strides(operands[k].shape);
    return walk(
      shape,
      letters.map((letter) => steps[indices.indexOf(letter)] ?? 0),
    );
  });
  const inner = size(shape.slice(result.length));
  const round = rounding(node.dtype);
  const out = new Float64Array(size(node.shape));
  for (let k = 0; k < size(shape); k++) {
    const at = floor(k / inner);
    const term = operands.reduce((p, { data }, j) => p * data[places[j][k]], 1);
    out[at] = round(out[at] + term);
  }
  return rounded(node, out);
}

// ------------------------------------------------------------------------------------- matrices

/** Compute something of each matrix of a stack, given as rows, and of those of another one. */
function ofEach(node, outer, stacks, f) {
  const starts = stacks.map((x) => matrixStarts(x, outer));
  const rows = ({ shape, data }, start) =>
    Array.from({ length: shape.at(-2) }, (_, i) =>
      Array.from(data.subarray(start + i * shape.at(-1), start + (i + 1) * shape.at(-1))),
    );
  const found = Array.from({ length: size(outer) }, (_, k) =>
    f(...stacks.map((x, j) => rows(x, starts[j][k]))),
  );
  return rounded(node, found.flat(2));
}

/** Eliminate in [a | b] by rows, with the largest pivot of each column. */
function eliminated(a, b, round) {
  let sign = 1;
  for (let k = 0; k < a.length; k++) {
    const sizes = a.map((row, i) => (i < k ? -1 : abs(row[k])));
    const p = Math.max(sizes.indexOf(Math.max(...sizes)), k); // k among nan
    if (p !== k) [a[k], a[p], b[k], b[p], sign] = [a[p], a[k], b[p], b[k], -sign];
    for (let i = k + 1; i < a.length && a[k][k]; i++) {
      const factor = round(a[i][k] / a[k][k]);
      for (const rows of [a, b])
        rows[i] = rows[i].map((v, j) => round(v - round(factor * rows[k][j])));
    }
  }
  return { pivots: a.map((row, k) => row[k]), sign };
}

function solved(node, a, b) {
  const round = rounding(node.dtype);
  const outer = node.shape.slice(0, -2);
  return ofEach(node, outer, b ? [a, b] : [a], (left, right) => {
    const x = right ?? left.map((row, i) => row.map((_, j) => Number(i === j)));
    if (eliminated(left, x, round).pivots.includes(0)) throw new Unfit("a matrix is singular");
    for (let i = x.length - 1; i >= 0; i--)
      x[i] = x[i].map((v, j) => {
        for (let k = i + 1; k < x.length; k++) v = round(v - round(left[i][k] * x[k][j]));
        return round(v / left[i][i]);
      });
    return x;
  });
}

function measured(node, a, f) {
  return ofEach(node, node.shape, [a], (rows) => {
    const { pivots, sign } = eliminated(
      rows,
      rows.map(() => []),
      rounding(node.dtype),
    );
    return f(pivots, sign);
  });
}

/** L of a = L Lᵀ. */
function rooted(node, a) {
  const round = rounding(node.dtype);
  return ofEach(node, a.shape.slice(0, -2), [a], (rows) => {
    const l = rows.map((row) => row.map(() => 0));
    rows.forEach((row, i) => {
      for (let j = 0; j <= i; j++) {
        const rest = l[j].reduce((v, x, k) => (k < j ? round(v - round(l[i][k] * x)) : v), row[j]);
        if (i === j && !(rest > 0)) throw new Unfit("a matrix is not positive definite");
        l[i][j] = round(i === j ? sqrt(rest) : rest / l[j][j]);
      }
    });
    return l;
  });
}

// --------------------------------------------------------------------------------- BatchNorm

/** BatchNorm as one node: x − mean, over √(var + eps), times gamma, plus beta. */
function normalized({ shape, dtype, params: { axis, eps } }, x, gamma, beta) {
  const of = (op, to, ...operands) =>
    computed({ op, shape: to, dtype, params: { axis } }, narrowed(operands));
  const kept = shape.map((n, k) => (axis.includes(k) ? 1 : n));
  const perN = leaf(1 / size(axis.map((k) => shape[k])));
  const mean = (y) => of("mul", kept, perN, of("sum", kept, y));
  const xmu = of("sub", shape, x, mean(x));
  const variance = mean(of("mul", shape, xmu, xmu));
  const ivar = of("inverse", kept, of("sqrt", kept, of("add", kept, variance, leaf(eps))));
  return of("add", shape, of("mul", shape, xmu, of("mul", shape, gamma, ivar)), beta);
}
