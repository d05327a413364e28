/*
 * The table of primitives, row by row, as NumPy computes each on arrays.
 *
 * `ENTRYWISE` rows are given one entry of each operand, and the node last; what they give is rounded
 * to the dtype of the node. `WHOLE` rows are given the node and its operands. What is added
 * up is added in NumPy's order. A primitive that has no row here is shown with the numbers that
 * NumPy computed, and what it depends on cannot be edited.
 */

const { abs, exp, log, log1p, floor, sqrt, max: greatest } = Math;
const isNan = Number.isNaN;
const LOG2 = Math.LN2;
const exactly = (f) => (a, b) => Number(f(BigInt(a), BigInt(b)));

const ENTRYWISE = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
  neg: (x) => -x,
  inverse: (x) => 1 / x,
  square: (x) => x * x,
  sqrt: (x) => sqrt(x),
  pow: (x, { params: { n }, shape }) => (n === 0.5 && shape.length ? sqrt(x) : power(x, n)),
  power: (a, b) => power(a, b),
  exp: (x) => exp(x),
  log: (x) => log(x),
  sin: (x) => Math.sin(x),
  cos: (x) => Math.cos(x),
  tanh: (x) => Math.tanh(x),
  relu: (x) => (x < 0 ? 0 : x),
  abs: (x) => abs(x),
  maximum: (a, b) => (a >= b || isNan(a) ? a : b),
  minimum: (a, b) => (a <= b || isNan(a) ? a : b),
  where: (condition, a, b) => (condition !== 0 ? a : b),
  cast: (x, { dtype }) => (dtype === "b1" ? x !== 0 : "iu".includes(dtype[0]) ? Math.trunc(x) : x),
  stop: (x) => x,

  greater: (a, b) => a > b,
  greater_equal: (a, b) => a >= b,
  less: (a, b) => a < b,
  less_equal: (a, b) => a <= b,
  equal: (a, b) => a === b,
  not_equal: (a, b) => a !== b,
  sign: (x) => (x === 0 ? 0 : Math.sign(x)),
  isfinite: (x) => Number.isFinite(x),
  isnan: (x) => isNan(x),
  isinf: (x) => abs(x) === Infinity,
  signbit: (x) => x < 0 || Object.is(x, -0),
  floor: (x) => floor(x),
  ceil: (x) => Math.ceil(x),
  rint: (x) => nearest(x),
  trunc: (x) => Math.trunc(x),
  bitwise_and: exactly((a, b) => a & b),
  bitwise_or: exactly((a, b) => a | b),
  bitwise_xor: exactly((a, b) => a ^ b),
  invert: (x, { dtype }) => (dtype === "b1" ? !x : -x - 1),
  logical_and: (a, b) => a !== 0 && b !== 0,
  logical_or: (a, b) => a !== 0 || b !== 0,
  logical_xor: (a, b) => (a !== 0) !== (b !== 0),
  logical_not: (x) => x === 0,

  log1p: (x) => log1p(x),
  expm1: (x) => Math.expm1(x),
  log2: (x) => Math.log2(x),
  log10: (x) => Math.log10(x),
  exp2: (x) => 2 ** x,
  logaddexp: (a, b) => addedUp(a, b, LOG2, (x) => log1p(exp(x))),
  logaddexp2: (a, b) => addedUp(a, b, 1, (x) => log1p(2 ** x) / LOG2),
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
  xlogy: (x, y) => (x === 0 && !isNan(y) ? 0 : x * log(y)),
  xlog1py: (x, y) => (x === 0 && !isNan(y) ? 0 : x * log1p(y)),
};

/** As C: 1 to any power is 1, also to none that is a number. */
function power(x, n) {
  return x === 1 || (x === -1 && abs(n) === Infinity) ? 1 : x ** n;
}

/** Round to the nearest whole number, and half way between two to the even one. */
function nearest(x) {
  const below = floor(x);
  const up = x - below > 0.5 || (x - below === 0.5 && below % 2 !== 0);
  return (up ? Math.ceil(x) : below) || 0 * x;
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

/** log(eᵃ + eᵇ), of which the larger one is taken out. */
function addedUp(a, b, both, rest) {
  return a === b ? a + both : greatest(a, b) + rest(-abs(a - b));
}

/** The n-th derivative of sin πx / πx; near 0 its power series, where the recurrence cancels. */
function sinc(x, n) {
  const z = Math.PI * x;
  if (n === 0) return x === 0 ? 1 : Math.sin(z) / z;
  if (abs(z) < 2 + n) {
    let [sum, term] = [0, 1]; // term: z^(k-n) / (k-n)!
    for (let k = n; k < n + 40; k++) {
      if (k % 2 === 0) sum += ((k % 4 === 0 ? 1 : -1) * term) / (k + 1);
      term *= z / (k - n + 1);
    }
    return Math.PI ** n * sum;
  }
  let far = Math.sin(z) / z;
  for (let k = 1; k <= n; k++)
    far = (Math.PI ** (k - 1) * Math.sin(z + (k * Math.PI) / 2) - k * far) / x;
  return far;
}

// ------------------------------------------------------------------------------- whole arrays

const WHOLE = {
  sum: (node, x) => total(node, x),
  prod: (node, x) => reduced(node, x, node.params.axis, 1, (a, b) => a * b),
  max: (node, x) => reduced(node, x, node.params.axis, -Infinity, ENTRYWISE.maximum),
  all: (node, x) => reduced(node, x, node.params.axis, 1, (a, b) => a && b !== 0),
  any: (node, x) => reduced(node, x, node.params.axis, 0, (a, b) => a || b !== 0),
  argmax: (node, x) => firstOf(node, x, (a, b) => a > b),
  argmin: (node, x) => firstOf(node, x, (a, b) => a < b),
  argsort: (node, x) => sorted(node, x),
  nonzero: (node, x) => places(node, nonzero(x)[node.params.along]),
  cumsum: (node, x) => scanned(node, x, (a, b) => a + b),
  cumprod: (node, x) => scanned(node, x, (a, b) => a * b),

  reshape: (node, x) => ({ ...x, shape: node.shape }),
  transpose: (node, x) => {
    const own = strides(x.shape);
    return gathered(node, x, walk(node.shape, node.params.axes.map((k) => own[k])));
  },
  spread: (node, x) => {
    const axes = x.shape.length < node.shape.length ? node.params.axis : [];
    const rest = [...x.shape];
    const shape = node.shape.map((_, k) => (axes.includes(k) ? 1 : rest.shift()));
    return gathered(node, x, walk(node.shape, stretched(shape, node.shape)));
  },
  concatenate: (node, ...parts) => {
    const { axis } = node.params;
    const outer = size(node.shape.slice(0, axis));
    const out = empty(node.shape, node.dtype);
    let at = 0;
    for (let k = 0; k < outer; k++)
      for (const { data } of parts) {
        const n = data.length / outer;
        out.set(data.subarray(k * n, (k + 1) * n), at);
        at += n;
      }
    return array(node.shape, node.dtype, out);
  },
  index: (node, x) => gathered(node, x, picked(node.params.key, x.shape).places),
  pick: (node, x, ...keys) => gathered(node, x, picked(filled(node.params.key, keys), x.shape).places),
  select: (node, x, ...masks) => {
    unchanged(node.params.places.map((k) => node.params.key[k]), masks);
    return gathered(node, x, picked(node.params.key, x.shape).places);
  },
  scatter: (node, x) => written(node, zeros(node), [[node.params.key, x]], true),
  put: (node, x, ...keys) => written(node, zeros(node), [[filled(node.params.key, keys), x]], true),
  assign: (node, base, ...operands) => written(node, base, writes(node, operands), false),
  assign_add: (node, base, ...operands) => written(node, base, writes(node, operands), true),

  matmul: (node, a, b) => product(node, a, b),
  einsum: (node, ...operands) => contracted(node, operands),
  inv: (node, a) => solved(node, a, null),
  solve: (node, a, b) => solved(node, a, b),
  det: (node, a) => measured(node, a, (pivots, sign) => pivots.reduce((p, q) => p * q, sign)),
  signdet: (node, a) => measured(node, a, (pivots, sign) => pivots.reduce((s, q) => s * Math.sign(q), sign)),
  logabsdet: (node, a) => measured(node, a, (pivots) => pivots.reduce((sum, q) => sum + log(abs(q)), 0)),
  cholesky: (node, a) => rooted(node, a),
};

const ROWS = { ...ENTRYWISE, ...WHOLE };

/** Compute a node of its operands. */
function computed(node, operands) {
  if (WHOLE[node.op]) return WHOLE[node.op](node, ...operands);
  const f = ENTRYWISE[node.op];
  const { shape, dtype } = node;
  const [a, b, c] = operands.map((x) => reader(x, shape));
  const out = new Float64Array(size(shape));
  if (c) for (let k = 0; k < out.length; k++) out[k] = f(a(k), b(k), c(k), node);
  else if (b) for (let k = 0; k < out.length; k++) out[k] = f(a(k), b(k), node);
  else for (let k = 0; k < out.length; k++) out[k] = f(a(k), node);
  return rounded(shape, dtype, out);
}

const zeros = ({ shape, dtype }) => array(shape, dtype, empty(shape, dtype));
const gathered = ({ shape, dtype }, { data }, at) => rounded(shape, dtype, Float64Array.from(at, (k) => data[k]));

// ---------------------------------------------------------------------------- along some axes

/**
 * Add up as NumPy does. Neighbouring axes that are both added up, or both kept, are one. If the last
 * one is added up, each run of it is added pairwise; otherwise whole rows are, one after the other.
 */
function total({ shape, dtype, params }, x) {
  const round = rounding(dtype === "f2" ? "f4" : dtype);
  const added = x.shape.map((n, k) => [n, params.axis.includes(k)]).filter(([n]) => n !== 1);
  let length = 1;
  const isAdded = added.at(-1)?.[1] ?? false;
  for (let k = added.length - 1; k >= 0 && added[k][1] === isAdded; k--) length *= added[k][0];
    const places = to(x.shape, params.axis);
  const out = new Float64Array(size(shape));
  for (let at = 0; at < x.data.length; at += length)
    if (isAdded) out[places[at]] = round(out[places[at]] + pairwise(x.data, at, length, round));
    else for (let k = at; k < at + length; k++) out[places[k]] = round(out[places[k]] + x.data[k]);
  return rounded(shape, dtype, out);
}

/** For each entry, the place of what it goes into when `axes` are reduced. */
function to(shape, axes) {
  const kept = strides(shape.map((n, k) => (axes.includes(k) ? 1 : n)));
  return walk(shape, kept.map((step, k) => (axes.includes(k) ? 0 : step)));
}

/** Up to 128 numbers in eight sums, taken together two by two; more in two halves. */
function pairwise(data, start, n, round) {
  if (n > 128) {
    const half = floor(n / 2) - (floor(n / 2) % 8);
    return round(pairwise(data, start, half, round) + pairwise(data, start + half, n - half, round));
  }
  const eights = n - (n % 8);
  let sum = -0;
  if (eights) {
    const s = Array.from(data.subarray(start, start + 8));
    for (let k = 8; k < eights; k++) s[k % 8] = round(s[k % 8] + data[start + k]);
    const pair = (i, j) => round(s[i] + s[j]);
    sum = round(round(pair(0, 1) + pair(2, 3)) + round(pair(4, 5) + pair(6, 7)));
  }
  for (let k = eights; k < n; k++) sum = round(sum + data[start + k]);
  return sum;
}

function reduced({ shape, dtype }, x, axes, initial, f) {
  const places = to(x.shape, axes);
  const round = rounding(dtype);
  const out = new Float64Array(size(shape)).fill(initial);
  x.data.forEach((v, k) => (out[places[k]] = round(f(out[places[k]], v))));
  return rounded(shape, dtype, out);
}

/** Where each run along an axis lies, from the slowest to the fastest of the other axes. */
function runs(shape, axis) {
  const axes = axis === null ? shape.map((_, k) => k) : [axis];
  const { within, starts } = split(shape, axes);
  return { starts, within };
}

function firstOf(node, x, isBetter) {
  const { starts, within } = runs(x.shape, node.params.axis ?? null);
  return places(node, Array.from(starts, (start) => {
    let best = 0;
    for (let k = 1; k < within.length; k++) {
      const [v, w] = [x.data[start + within[k]], x.data[start + within[best]]];
      if (!isNan(w) && (isNan(v) || isBetter(v, w))) best = k;
    }
    return best;
  }));
}

function scanned(node, x, f) {
  const { starts, within } = runs(x.shape, node.params.axis);
  const round = rounding(node.dtype);
  const out = Float64Array.from(x.data);
  for (const start of starts)
    for (let k = 1; k < within.length; k++)
      out[start + within[k]] = round(f(out[start + within[k - 1]], out[start + within[k]]));
  return rounded(node.shape, node.dtype, out);
}

function sorted(node, x) {
  const { starts, within } = runs(x.shape, node.params.axis);
  const out = new Float64Array(x.data.length);
  for (const start of starts) {
    const at = (k) => x.data[start + within[k]];
    const order = [...within.keys()].sort((i, j) => isNan(at(i)) - isNan(at(j)) || at(i) - at(j) || i - j);
    order.forEach((from, k) => (out[start + within[k]] = from));
  }
  return rounded(node.shape, node.dtype, out);
}

function places({ shape, dtype }, numbers) {
  if (numbers.length !== size(shape)) throw new Unfit(CHANGED);
  return rounded(shape, dtype, numbers);
}

// ------------------------------------------------------------------------------------- places

const CHANGED = "a mask picks other entries than when the graph was recorded, so that it has other shapes";

function unchanged(expected, masks) {
  expected.forEach((mask, k) => {
    if (mask.data.some((v, i) => v !== masks[k].data[i])) throw new Unfit(CHANGED);
  });
}

/** Put what was computed into a key, where a string counts it. */
const filled = (key, operands) =>
  Array.isArray(key) ? key.map((part) => (typeof part === "string" ? operands[part - 1] : part)) : key;

/** What is written: each key with its value. Masks come last, and must be what they were. */
function writes({ params: { keys, expected = [] } }, operands) {
  if (expected.length) unchanged(expected, operands.slice(-expected.length));
  const computed = operands.slice(keys.length);
  return keys.map((key, k) => [filled(key, computed), operands[k]]);
}

/** A copy with values in some places, one after the other; added to what is there if `adds`. */
function written({ shape, dtype }, base, writes, adds) {
  const round = rounding(dtype);
  const out = Float64Array.from(base.data);
  for (const [key, value] of writes) {
    const into = picked(key, shape);
    const read = reader(value, into.shape);
    into.places.forEach((at, k) => (out[at] = adds ? round(out[at] + read(k)) : read(k)));
  }
  return rounded(shape, dtype, out);
}

// ----------------------------------------------------------------------------------- matrices

function product(node, a, b) {
  const outer = node.shape.slice(0, -2);
  const [m, n] = node.shape.slice(-2);
  const inner = a.shape.at(-1);
  const starts = (x) => walk(outer, stretched(x.shape.slice(0, -2), outer)).map((k) => k * size(x.shape.slice(-2)));
  const [fromA, fromB] = [starts(a), starts(b)];
  const round = rounding(node.dtype);
  const out = new Float64Array(size(node.shape));
  for (let s = 0, at = 0; s < fromA.length; s++)
    for (let i = 0; i < m; i++, at += n)
      for (let k = 0; k < inner; k++) {
        const x = a.data[fromA[s] + i * inner + k];
        for (let j = 0; j < n; j++) out[at + j] = round(out[at + j] + x * b.data[fromB[s] + k * n + j]);
      }
  return rounded(node.shape, node.dtype, out);
}

function contracted(node, operands) {
  const [terms, result] = node.params.subscripts.split("->");
  const own = terms.split(",");
  const lengths = {};
  own.forEach((letters, k) => [...letters].forEach((c, i) => (lengths[c] = operands[k].shape[i])));
  const letters = [...result, ...Object.keys(lengths).filter((c) => !result.includes(c))];
  const all = letters.map((c) => lengths[c]);
  const ways = own.map((indices, k) => {
    const steps = strides(operands[k].shape);
    return walk(all, letters.map((c) => (indices.includes(c) ? steps[indices.indexOf(c)] : 0)));
  });
  const each = size(all.slice(result.length));
  const round = rounding(node.dtype);
  const out = new Float64Array(size(node.shape));
  for (let k = 0; k < size(all); k++) {
    const factors = operands.map((x, j) => x.data[ways[j][k]]);
    out[floor(k / each)] = round(out[floor(k / each)] + factors.reduce((p, q) => p * q));
  }
  return rounded(node.shape, node.dtype, out);
}

/** Eliminate in [a | b] by rows, with the largest pivot of each column; give pivots and sign. */
function eliminated(a, b, round) {
  const n = a.length;
  let sign = 1;
  for (let k = 0; k < n; k++) {
    let p = k;
    for (let i = k + 1; i < n; i++) if (abs(a[i][k]) > abs(a[p][k])) p = i;
    if (p !== k) [a[k], a[p], b[k], b[p], sign] = [a[p], a[k], b[p], b[k], -sign];
    for (let i = k + 1; i < n && a[k][k]; i++) {
      const factor = round(a[i][k] / a[k][k]);
      const less = (row, j) => (row[i][j] = round(row[i][j] - factor * row[k][j]));
      for (let j = k; j < n; j++) less(a, j);
      for (let j = 0; j < b[i].length; j++) less(b, j);
    }
  }
  return { pivots: a.map((row, k) => row[k]), sign };
}

/** The rows of the matrix that starts at a place. */
function matrix({ shape, data }, start) {
  const [m, n] = shape.slice(-2);
  return Array.from({ length: m }, (_, i) => Array.from(data.subarray(start + i * n, start + (i + 1) * n)));
}

function solved(node, a, b) {
  const round = rounding(node.dtype);
  const outer = node.shape.slice(0, -2);
  const n = a.shape.at(-1);
  const each = (x, k) => matrix(x, walk(outer, stretched(x.shape.slice(0, -2), outer))[k] * size(x.shape.slice(-2)));
  const identity = () => Array.from({ length: n }, (_, i) => Array.from({ length: n }, (_, j) => Number(i === j)));
  const found = Array.from({ length: size(outer) }, (_, k) => {
    const [left, x] = [each(a, k), b ? each(b, k) : identity()];
    if (eliminated(left, x, round).pivots.includes(0)) throw new Unfit("a matrix is singular");
    for (let i = n - 1; i >= 0; i--)
      for (let j = 0; j < x[i].length; j++) {
        for (let k = i + 1; k < n; k++) x[i][j] = round(x[i][j] - left[i][k] * x[k][j]);
        x[i][j] = round(x[i][j] / left[i][i]);
      }
    return x;
  });
  return rounded(node.shape, node.dtype, found.flat(2));
}

function measured(node, a, f) {
  const each = size(a.shape.slice(-2));
  const numbers = Array.from({ length: size(node.shape) }, (_, k) => {
    const rows = matrix(a, k * each);
    const { pivots, sign } = eliminated(rows, rows.map(() => []), rounding(node.dtype));
    return f(pivots, sign);
  });
  return rounded(node.shape, node.dtype, numbers);
}

/** L of a = L Lᵀ. */
function rooted(node, a) {
  const round = rounding(node.dtype);
  const each = size(a.shape.slice(-2));
  const found = Array.from({ length: size(a.shape.slice(0, -2)) }, (_, k) => {
    const rows = matrix(a, k * each);
    const l = rows.map((row) => row.map(() => 0));
    rows.forEach((row, i) => {
      for (let j = 0; j <= i; j++) {
        let rest = row[j];
        for (let k = 0; k < j; k++) rest = round(rest - l[i][k] * l[j][k]);
        l[i][j] = i === j ? sqrt(rest) : rest / l[j][j];
        if (isNan(l[i][j]) || !l[j][j]) throw new Unfit("a matrix is not positive definite");
        l[i][j] = round(l[i][j]);
      }
    });
    return l;
  });
  return rounded(node.shape, node.dtype, found.flat(2));
}
