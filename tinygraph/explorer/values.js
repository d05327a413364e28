/*
 * The table of primitives, row by row, as NumPy computes each on arrays.
 *
 * A row of ENTRYWISE is given one entry of each operand, and the node last; what it gives is rounded
 * to the dtype of the node. A row of WHOLE is given the node and its operands. What is added up is
 * added in NumPy's order. Other rows stand in keys.js and library.js. A primitive
 * without a row is shown with the numbers that NumPy computed, and what it reads cannot be edited.
 */

const { abs, exp, log, log1p, floor, sqrt } = Math;
const { isNaN: isNan } = Number;

const ENTRYWISE = {};
const WHOLE = {};

Object.assign(ENTRYWISE, {
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
  relu: (x) => Math.max(x, 0),
  abs: (x) => abs(x),
  maximum: (a, b) => (a >= b || isNan(a) ? a : b),
  minimum: (a, b) => (a <= b || isNan(a) ? a : b),
  where: (condition, a, b) => (condition !== 0 ? a : b),
  cast: (x, { dtype }) => (dtype === "b1" ? x !== 0 : dtype[0] === "f" ? x : Math.trunc(x)),
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
  floor: (x) => floor(x),
  ceil: (x) => Math.ceil(x),
  rint: (x) => nearest(x),
  trunc: (x) => Math.trunc(x),
  bitwise_and: (a, b) => Number(BigInt(a) & BigInt(b)),
  bitwise_or: (a, b) => Number(BigInt(a) | BigInt(b)),
  bitwise_xor: (a, b) => Number(BigInt(a) ^ BigInt(b)),
  invert: (x, { dtype }) => (dtype === "b1" ? x === 0 : -x - 1),
  logical_and: (a, b) => a !== 0 && b !== 0,
  logical_or: (a, b) => a !== 0 || b !== 0,
  logical_xor: (a, b) => (a !== 0) !== (b !== 0),
  logical_not: (x) => x === 0,
});

Object.assign(WHOLE, {
  sum: (node, x) => total(node, x),
  max: (node, x) => reduced(node, x, -Infinity, ENTRYWISE.maximum),
  all: (node, x) => reduced(node, x, 1, ENTRYWISE.logical_and),
  any: (node, x) => reduced(node, x, 0, ENTRYWISE.logical_or),
  argmax: (node, x) => firstOf(node, x, (a, b) => a > b),
  argmin: (node, x) => firstOf(node, x, (a, b) => a < b),
  matmul: (node, a, b) => product(node, a, b),

  reshape: (node, x) => array(node.shape, x.dtype, x.data),
  transpose: (node, x) => {
    const steps = strides(x.shape);
    return gathered(
      node,
      x,
      walk(
        node.shape,
        node.params.axes.map((k) => steps[k]),
      ),
    );
  },
  spread: (node, x) => {
    const { shape, params } = node;
    const lengths = [...x.shape];
    const isNew = (k) => x.shape.length < shape.length && params.axis.includes(k);
    const own = shape.map((_, k) => (isNew(k) ? 1 : lengths.shift()));
    return gathered(node, x, walk(shape, stretched(own, shape)));
  },
  concatenate: (node, ...parts) => joined(node, parts),
});

/** Compute a node of its operands. */
function computed(node, operands) {
  if (WHOLE[node.op]) return WHOLE[node.op](node, ...operands);
  const f = ENTRYWISE[node.op];
  const [a, b, c] = operands.map((x) => reader(x, node.shape));
  const out = new Float64Array(size(node.shape));
  if (c) for (let k = 0; k < out.length; k++) out[k] = f(a(k), b(k), c(k), node);
  else if (b) for (let k = 0; k < out.length; k++) out[k] = f(a(k), b(k), node);
  else for (let k = 0; k < out.length; k++) out[k] = f(a(k), node);
  return rounded(node, out);
}

const zeros = ({ shape, dtype }) => array(shape, dtype, empty(shape, dtype));
const gathered = (node, { data }, places) =>
  rounded(
    node,
    Float64Array.from(places, (k) => data[k]),
  );

/** As in C, 1 to any power is 1, and so is −1 to an infinite one. */
const power = (x, n) => (x === 1 || (x === -1 && abs(n) === Infinity) ? 1 : x ** n);

/** Round to the nearest whole number, and half way between two to the even one. */
function nearest(x) {
  const below = floor(x);
  const isUp = x - below > 0.5 || (x - below === 0.5 && below % 2 !== 0);
  return (isUp ? Math.ceil(x) : below) || 0 * x;
}

// ------------------------------------------------------------------------------ along some axes

/** For each entry, the place of what it goes into when `axes` are reduced. */
function targets(shape, axes) {
  const steps = strides(shape.map((n, k) => (axes.includes(k) ? 1 : n)));
  return walk(
    shape,
    steps.map((step, k) => (axes.includes(k) ? 0 : step)),
  );
}

/**
 * Add up as NumPy does. Neighbouring axes that are both added up, or both kept, are one. If the last
 * one is added up, each run along it is added pairwise; otherwise rows are, one after the other.
 */
function total(node, x) {
  const { axis } = node.params;
  const round = rounding(node.dtype === "f2" ? "f4" : node.dtype);
  const axes = x.shape.map((n, k) => ({ n, isAdded: axis.includes(k) })).filter(({ n }) => n !== 1);
  const isAdded = axes.at(-1)?.isAdded ?? false;
  const inner = axes.slice(axes.findLastIndex((one) => one.isAdded !== isAdded) + 1);
  const length = size(inner.map(({ n }) => n));
  const into = targets(x.shape, axis);
  const out = new Float64Array(size(node.shape));
  const add = (place, number) => (out[place] = round(out[place] + number));
  for (let at = 0; at < x.data.length; at += length)
    if (isAdded) add(into[at], pairwise(x.data, at, length, round));
    else for (let k = at; k < at + length; k++) add(into[k], x.data[k]);
  return rounded(node, out);
}

/** Up to 128 numbers in eight sums, taken together two by two; more in two halves. */
function pairwise(data, start, n, round) {
  if (n > 128) {
    const first = floor(n / 16) * 8;
    const second = pairwise(data, start + first, n - first, round);
    return round(pairwise(data, start, first, round) + second);
  }
  const s = Array(8).fill(-0);
  const eights = n - (n % 8);
  for (let k = 0; k < eights; k++) s[k % 8] = round(s[k % 8] + data[start + k]);
  const pair = (i) => round(s[i] + s[i + 1]);
  let sum = round(round(pair(0) + pair(2)) + round(pair(4) + pair(6)));
  for (let k = eights; k < n; k++) sum = round(sum + data[start + k]);
  return sum;
}

function reduced(node, x, initial, f) {
  const into = targets(x.shape, node.params.axis);
  const round = rounding(node.dtype);
  const out = new Float64Array(size(node.shape)).fill(initial);
  x.data.forEach((v, k) => (out[into[k]] = round(f(out[into[k]], v))));
  return rounded(node, out);
}

/** The first entry that is better than those before it; nan is better than any number. */
function firstOf(node, { shape, data }, isBetter) {
  const { axis } = node.params;
  const { within, starts } = split(shape, axis === null ? [...shape.keys()] : [axis]);
  const better = (start) => (best, k) => {
    const [v, w] = [data[start + within[k]], data[start + within[best]]];
    return !isNan(w) && (isNan(v) || isBetter(v, w)) ? k : best;
  };
  return rounded(
    node,
    Array.from(starts, (start) => range(within.length).reduce(better(start), 0)),
  );
}

/** For each stack of matrices that broadcasts to `outer`, where its matrices start. */
function matrixStarts({ shape }, outer) {
  const places = walk(outer, stretched(shape.slice(0, -2), outer));
  return places.map((k) => k * size(shape.slice(-2)));
}

function product(node, a, b) {
  const [m, n] = node.shape.slice(-2);
  const inner = a.shape.at(-1);
  const [fromA, fromB] = [a, b].map((x) => matrixStarts(x, node.shape.slice(0, -2)));
  const round = rounding(node.dtype);
  const out = new Float64Array(size(node.shape));
  for (let row = 0, at = 0; row < m * fromA.length; row++, at += n) {
    const [stack, i] = [floor(row / m), row % m];
    for (let k = 0; k < inner; k++) {
      const [x, from] = [a.data[fromA[stack] + i * inner + k], fromB[stack] + k * n];
      for (let j = 0; j < n; j++) out[at + j] = round(out[at + j] + x * b.data[from + j]);
    }
  }
  return rounded(node, out);
}

function joined(node, parts) {
  const outer = size(node.shape.slice(0, node.params.axis));
  const out = zeros(node);
  let at = 0;
  for (let k = 0; k < outer; k++)
    for (const { data } of parts) {
      const n = data.length / outer;
      out.data.set(data.subarray(k * n, (k + 1) * n), at);
      at += n;
    }
  return out;
}
