/*
 * Arrays as NumPy has them: {shape, dtype, data}, entries in row-major order in a typed array.
 *
 * A dtype is written "f8": kind and bytes. A Python number has none (null) and takes that of what it
 * meets. 64-bit integers are kept as doubles, exact below 2^53, and float16 as rounded doubles.
 * Nothing changes an array once it is made.
 */

const STORES = {
  ...{ f8: Float64Array, f4: Float32Array, i4: Int32Array, u4: Uint32Array, i2: Int16Array },
  ...{ u2: Uint16Array, i1: Int8Array, u1: Uint8Array, b1: Uint8Array },
};
const BYTES = { ...STORES, i8: BigInt64Array, u8: BigUint64Array, f2: Uint16Array };

/** What cannot be computed, and why, for the reader of the page. */
class Unfit extends Error {}

const array = (shape, dtype, data) => ({ shape, dtype, data });
const size = (shape) => shape.reduce((n, k) => n * k, 1);
const empty = (shape, dtype) => new (STORES[dtype] ?? Float64Array)(size(shape));
const range = (n, step = 1, start = 0) =>
  Int32Array.from({ length: n }, (_, k) => start + k * step);

/** Round to the 11 bits of a float16: with 3/2 · 2^52 ulps added, a double has none for less. */
function half(x) {
  const ulp = 2 ** (Math.max(Math.floor(Math.log2(Math.abs(x))), -14) - 10);
  if (!x || !Number.isFinite(ulp)) return x;
  const rounded = x + 6755399441055744 * ulp - 6755399441055744 * ulp;
  return Math.abs(rounded) < 65520 ? rounded || 0 * x : Math.sign(x) * Infinity;
}

const unsigned = (x) => x + 0; // no integer is −0
const ROUNDINGS = { f4: Math.fround, f2: half, i8: unsigned, u8: unsigned };
const rounding = (dtype) => ROUNDINGS[dtype] ?? ((x) => x);

/** Make an array of numbers that were computed in double precision. */
function rounded({ shape, dtype }, numbers) {
  const data = empty(shape, dtype);
  data.set(ROUNDINGS[dtype] ? Float64Array.from(numbers, rounding(dtype)) : numbers);
  return array(shape, dtype, data);
}

// --------------------------------------------------------------------------------------- places

/** How far apart neighbours along each axis are. */
const strides = (shape) => shape.map((_, k) => size(shape.slice(k + 1)));

/** Every sum of one number out of each list, the last list running fastest. */
function sums(lists) {
  let all = Int32Array.of(0);
  for (const list of lists) {
    const next = new Int32Array(all.length * list.length);
    for (let i = 0, at = 0; i < all.length; i++)
      for (let j = 0; j < list.length; j++) next[at++] = all[i] + list[j];
    all = next;
  }
  return all;
}

const WALKS = new Map(); // there are few shapes, and every run goes the same ways
/** The places of all entries, in order, where neighbours are `steps` apart. */
function walk(shape, steps) {
  const key = `${shape}|${steps}`;
  if (!WALKS.has(key)) WALKS.set(key, sums(shape.map((n, k) => range(n, steps[k]))));
  return WALKS.get(key);
}

/** Steps by which an array of `shape` is broadcast to another one. */
function stretched(shape, to) {
  const lacking = to.length - shape.length;
  const own = strides(shape);
  return to.map((_, k) => (k < lacking || shape[k - lacking] === 1 ? 0 : own[k - lacking]));
}

/** Give a function of a place in `shape`, which reads the entry of `x` that is broadcast there. */
function reader({ shape: own, data }, shape) {
  if (data.length === 1) return () => data[0];
  if (data.length === size(shape)) return (k) => data[k];
  const places = walk(shape, stretched(own, shape));
  return (k) => data[places[k]];
}

/** The places of what goes together along `axes`, and where each such group starts. */
function split(shape, axes) {
  const steps = strides(shape);
  const along = (isIn) => shape.map((n, k) => range(axes.includes(k) === isIn ? n : 1, steps[k]));
  return { within: sums(along(true)), starts: sums(along(false)) };
}

// --------------------------------------------------------------------------------- written form

function fromHalf(bits) {
  const [power, digits] = [(bits >> 10) & 31, (bits & 1023) / 1024];
  const tail = power === 31 ? (digits ? NaN : Infinity) : digits + Math.sign(power);
  return (bits >> 15 ? -1 : 1) * tail * 2 ** (Math.max(power, 1) - 15);
}

/** Read an array; what has no arithmetic here has `text`, and approximate numbers. */
function readArray({ dtype, shape, base64, order, text }) {
  const kind = dtype.slice(1);
  if (base64 === undefined) return array(shape, kind, new Float64Array(size(shape)).fill(NaN));
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const width = Number(kind[1]);
  if (dtype[0] === ">")
    for (let k = 0; k < bytes.length; k += width) bytes.subarray(k, k + width).reverse();
  let data = new BYTES[text ? "f8" : kind](bytes.buffer);
  if (!STORES[kind]) data = Float64Array.from(data, kind === "f2" ? fromHalf : Number);
  if (!order) return { ...array(shape, kind, data), text };
  const steps = strides(order.map((k) => shape[k]));
  const places = walk(
    shape,
    shape.map((_, k) => steps[order.indexOf(k)]),
  );
  return array(
    shape,
    kind,
    data.map((_, k) => data[places[k]]),
  );
}

const ELLIPSIS = Symbol("…");

const FORMS = {
  array: readArray,
  scalar: readArray,
  tuple: (parts) => parts.map(decoded),
  slice: (ends) => ({ slice: ends.map(decoded) }),
  ellipsis: () => ELLIPSIS,
  dtype: (text) => text.slice(1),
  int: Number,
  float: (text) => Number(text.replace("inf", "Infinity")),
  fraction: (text) => {
    const [n, d] = text.split("/"); // of 5e-324, d is 2^1074 and no double
    return Number(d) < Infinity ? n / d : n / Number(BigInt(d) >> 1000n) / 2 ** 1000;
  },
};

/** Read a number, a key or another parameter of the graph's JSON. */
function decoded(form) {
  if (Array.isArray(form)) return form.map(decoded);
  if (form === null || typeof form !== "object") return form;
  const [[kind, content]] = Object.entries(form);
  return FORMS[kind]?.(content) ?? null;
}
