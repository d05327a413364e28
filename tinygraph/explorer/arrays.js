/*
 * Arrays as NumPy has them: {shape, dtype, data}, entries in row-major order in a typed array.
 *
 * `dtype` is written as "f8": its kind and its bytes. A Python number has none (it is null): it takes
 * that of what it meets. 64-bit integers are kept in doubles, which are exact below 2^53; float16 in
 * doubles, rounded. Nothing changes an array once it is made.
 */

const STORES = {
  f8: Float64Array, f4: Float32Array, f2: Float64Array, i8: Float64Array, u8: Float64Array,
  i4: Int32Array, u4: Uint32Array, i2: Int16Array, u2: Uint16Array, i1: Int8Array, u1: Uint8Array,
  b1: Uint8Array,
};

/** What cannot be computed, and why, in words for the reader of the page. */
class Unfit extends Error {}

const size = (shape) => shape.reduce((n, k) => n * k, 1);
const empty = (shape, dtype) => new (STORES[dtype] ?? Float64Array)(size(shape));
const array = (shape, dtype, data) => ({ shape, dtype, data });

/** Round to the 11 bits of a float16: the sum with 3/2 · 2^52 ulps has none to spare for less. */
function half(x) {
  const ulp = 2 ** (Math.max(Math.floor(Math.log2(Math.abs(x))), -14) - 10);
  if (!x || !Number.isFinite(ulp)) return x;
  const much = 6755399441055744 * ulp;
  const rounded = x + much - much;
  return Math.abs(rounded) < 65520 ? rounded || Math.sign(x) * 0 : Math.sign(x) * Infinity;
}

const positive = (x) => x + 0; // integers know no −0
const ROUNDINGS = { f4: Math.fround, f2: half, i8: positive, u8: positive };
const rounding = (dtype) => ROUNDINGS[dtype] ?? ((x) => x);

/** Make an array of numbers that were computed in double precision. */
function rounded(shape, dtype, numbers) {
  const data = empty(shape, dtype);
  data.set(data instanceof Float64Array ? Float64Array.from(numbers, rounding(dtype)) : numbers);
  return array(shape, dtype, data);
}

// ------------------------------------------------------------------------------------- places

/** How far apart neighbours along each axis are. */
function strides(shape) {
  const steps = [];
  shape.reduceRight((step, n, k) => ((steps[k] = step), step * n), 1);
  return steps;
}

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

const range = (n, step = 1, start = 0) => Int32Array.from({ length: n }, (_, k) => start + k * step);
const walk = (shape, steps) => sums(shape.map((n, k) => range(n, steps[k])));

/** Strides by which an array of `shape` is broadcast to another one. */
function stretched(shape, to) {
  const own = strides(shape);
  const lacking = to.length - shape.length;
  return to.map((_, k) => (k < lacking || shape[k - lacking] === 1 ? 0 : own[k - lacking]));
}

/** Give a function of a place in `shape`, which reads the entry of `x` that is broadcast there. */
function reader(x, shape) {
  const { data } = x;
  if (data.length === 1) return () => data[0];
  if (data.length === size(shape) && x.shape.length === shape.length) return (k) => data[k];
  const places = walk(shape, stretched(x.shape, shape));
  return (k) => data[places[k]];
}

function broadcast(...shapes) {
  const ndim = Math.max(0, ...shapes.map((shape) => shape.length));
  return range(ndim).reduce((to, _, k) => {
    const lengths = shapes.map((shape) => shape[k - ndim + shape.length] ?? 1);
    return [...to, lengths.find((n) => n !== 1) ?? 1];
  }, []);
}

/** Where an array of `shape` has what it has along `axes`, and for each place without these. */
function split(shape, axes) {
  const steps = strides(shape);
  const along = (keep) => shape.map((n, k) => range(axes.includes(k) === keep ? 1 : n, steps[k]));
  return { within: sums(along(false)), starts: sums(along(true)) };
}

// --------------------------------------------------------------------------------------- keys

const ELLIPSIS = Symbol("…");

function nonzero(x) {
  const found = [...x.data.keys()].filter((k) => x.data[k] !== 0);
  return strides(x.shape).map((step, axis) => found.map((k) => Math.floor(k / step) % x.shape[axis]));
}

/** Python's slice, as the places that it picks of n. */
function sliced([start, stop, by], n) {
  const step = by ?? 1;
  const [first, last] = step > 0 ? [0, n] : [n - 1, -1];
  const clip = (k, otherwise) => {
    if (k === null) return otherwise;
    return Math.min(Math.max(k < 0 ? k + n : k, step > 0 ? 0 : -1), step > 0 ? n : n - 1);
  };
  const from = clip(start, first);
  return range(Math.max(Math.ceil((clip(stop, last) - from) / step), 0), step, from);
}

/** Spell a key out: a part for each axis that it names, bools as places, no ellipsis. */
function spelled(key, ndim) {
  const parts = (Array.isArray(key) ? key : [key]).flatMap((part) => {
    if (part?.dtype !== "b1") return [part];
    return nonzero(part).map((places) => array([places.length], "i8", places));
  });
  const named = parts.filter((part) => part !== null && part !== ELLIPSIS).length;
  const rest = Array.from({ length: ndim - named }, () => ({ slice: [null, null, null] }));
  const at = parts.indexOf(ELLIPSIS);
  return at < 0 ? [...parts, ...rest] : parts.toSpliced(at, 1, ...rest);
}

/** Which entries of an array of `shape` NumPy picks by a key: their shape, and their places. */
function picked(key, shape) {
  const steps = strides(shape);
  const parts = spelled(key, shape.length);
  const isFancy = parts.some((part) => part?.data);
  const lists = []; // of places, one for each axis of the result, those of arrays taken together
  const fancy = [];
  let [axis, first, apart] = [0, 0, false];
  for (const part of parts) {
    if (part === null) lists.push(Int32Array.of(0));
    else if (part.slice) {
      const step = steps[axis];
      lists.push(sliced(part.slice, shape[axis++]).map((k) => k * step));
    } else {
      if (!fancy.length) first = lists.length;
      apart ||= lists.length !== first;
      const [n, step] = [shape[axis], steps[axis]];
      const x = part.data ? part : array([], "i8", [part]);
      fancy.push({ ...x, data: Float64Array.from(x.data, (k) => inside(k, n, axis) * step) });
      axis++;
    }
  }
  const to = broadcast(...fancy.map((x) => x.shape));
  const readers = fancy.map((x) => reader(x, to));
  const together = range(size(to)).map((k) => readers.reduce((sum, read) => sum + read(k), 0));
  const before = isFancy && apart ? 0 : first;
  const lengths = lists.map((list) => list.length);
  return {
    shape: lengths.toSpliced(before, 0, ...to),
    places: sums(lists.toSpliced(before, 0, together)),
  };
}

function inside(k, n, axis) {
  if (k < -n || k >= n) throw new Unfit(`index ${k} is out of bounds for axis ${axis} of length ${n}`);
  return k < 0 ? k + n : k;
}

// --------------------------------------------------------------------------------- written form

const READERS = {
  f8: "getFloat64", f4: "getFloat32", f2: "getUint16", i8: "getBigInt64", u8: "getBigUint64",
  i4: "getInt32", u4: "getUint32", i2: "getInt16", u2: "getUint16", i1: "getInt8", u1: "getUint8",
  b1: "getUint8",
};

function fromHalf(bits) {
  const [power, digits] = [(bits >> 10) & 31, bits & 1023];
  const tail = power === 31 ? (digits ? NaN : Infinity) : power ? 1 + digits / 1024 : digits / 1024;
  return (bits >> 15 ? -1 : 1) * tail * 2 ** (Math.max(power, 1) - 15);
}

/** Read an array of the payload. What has no arithmetic here has `text`, and approximate numbers. */
function readArray({ dtype, shape, base64, order, text }) {
  if (text) return { ...readArray({ dtype: "<f8", shape, base64 }), dtype: dtype.slice(1), text };
  const kind = dtype.slice(1);
  if (base64 === undefined || !STORES[kind]) return array(shape, kind, undefined);
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const read = kind === "f2" ? fromHalf : Number;
  const data = empty(shape, kind);
  const width = Number(kind[1]);
  for (let k = 0; k < data.length; k++)
    data[k] = read(view[READERS[kind]](k * width, dtype[0] !== ">"));
  if (!order) return array(shape, kind, data);
  const steps = strides(order.map((k) => shape[k]));
  const places = walk(shape, shape.map((_, k) => steps[order.indexOf(k)]));
  return array(shape, kind, data.map((_, k) => data[places[k]]));
}

const FORMS = {
  array: readArray,
  scalar: readArray,
  tuple: (parts) => parts.map(decoded),
  slice: (ends) => ({ slice: ends.map(decoded) }),
  ellipsis: () => ELLIPSIS,
  dtype: (text) => text.slice(1),
  int: Number,
  float: (text) => Number(text.replace("inf", "Infinity")),
  fraction: (text) => text.split("/").map(Number).reduce((a, b) => a / b),
  params: () => null,
  formula: (parts) => ({ formula: parts }),
  complex: () => null,
};

/** Read a number, a key or another parameter of the graph's JSON. */
function decoded(form) {
  if (Array.isArray(form)) return form.map(decoded);
  if (form === null || typeof form !== "object") return form;
  const [[kind, content]] = Object.entries(form);
  return FORMS[kind](content);
}
