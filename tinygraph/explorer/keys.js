/*
 * Entries that are picked and written by keys, as NumPy has them: numbers, slices, None, an ellipsis,
 * arrays of integers, masks. A page has this if its graph has keys.
 */

Object.assign(WHOLE, {
  index: (node, x) => gathered(node, x, picked(node.params.key, x.shape).places),
  pick: (node, x, ...keys) => gathered(node, x, picked(filled(node, keys), x.shape).places),
  select: (node, x, ...masks) => {
    unchanged(
      node.params.places.map((k) => node.params.key[k]),
      masks,
    );
    return gathered(node, x, picked(node.params.key, x.shape).places);
  },
  scatter: (node, x) => written(node, zeros(node), [[node.params.key, x]], true),
  put: (node, x, ...keys) => written(node, zeros(node), [[filled(node, keys), x]], true),
  assign: (node, base, ...operands) => written(node, base, writes(node, operands), false),
  assign_add: (node, base, ...operands) => written(node, base, writes(node, operands), true),
  nonzero: (node, x) => placesOf(node, nonzero(x)[node.params.along]),
});

function broadcast(shapes) {
  const lengths = [];
  for (const shape of shapes)
    shape.toReversed().forEach((n, k) => (lengths[k] = (lengths[k] ?? 1) === 1 ? n : lengths[k]));
  return lengths.reverse();
}

/** The places of the entries that are not 0, axis by axis. */
function nonzero({ shape, data }) {
  const found = [...data.keys()].filter((k) => data[k] !== 0);
  return strides(shape).map((step, axis) => found.map((k) => Math.floor(k / step) % shape[axis]));
}

/** Python's slice, as the places that it picks of n. */
function sliced([start, stop, by], n) {
  const step = by ?? 1;
  const [least, most] = step > 0 ? [0, n] : [-1, n - 1];
  const clip = (k) => Math.min(Math.max(k < 0 ? k + n : k, least), most);
  const from = start === null ? (step > 0 ? least : most) : clip(start);
  const end = stop === null ? (step > 0 ? most : least) : clip(stop);
  return range(Math.max(Math.ceil((end - from) / step), 0), step, from);
}

const isOfAxis = (part) => part !== null && typeof part !== "boolean";

/** A part of the key for each axis that it names: masks as places, and no ellipsis. */
function spelled(key, ndim) {
  const parts = (Array.isArray(key) ? key : [key]).flatMap((part) => {
    if (part?.dtype !== "b1") return [part];
    return nonzero(part).map((places) => array([places.length], "i8", places));
  });
  const named = parts.filter((part) => isOfAxis(part) && part !== ELLIPSIS).length;
  const rest = Array.from({ length: ndim - named }, () => ({ slice: [null, null, null] }));
  const at = parts.indexOf(ELLIPSIS);
  return parts.toSpliced(at < 0 ? parts.length : at, at < 0 ? 0 : 1, ...rest);
}

/** Which entries of an array of `shape` NumPy picks by a key: their shape, and their places. */
function picked(key, shape) {
  const steps = strides(shape);
  const lists = []; // of places: one for each axis of the result that is not of arrays
  const arrays = [];
  let [axis, first, isApart] = [0, 0, false];
  const parts = spelled(key, shape.length);
  for (const part of parts) {
    if (part === null) lists.push([0]);
    else if (part.slice) lists.push(sliced(part.slice, shape[axis]).map((k) => k * steps[axis]));
    else {
      if (!arrays.length) first = lists.length;
      isApart ||= lists.length !== first;
      const isTrue = Number(part); // one truth value: an axis of one place, or of none
      if (!isOfAxis(part)) arrays.push(array([isTrue], "i8", new Float64Array(isTrue)));
      else {
        const x = part.data ? part : array([], "i8", [part]);
        const at = Float64Array.from(x.data, (k) => inside(k, shape[axis], axis) * steps[axis]);
        arrays.push({ ...x, data: at });
      }
    }
    if (isOfAxis(part)) axis++;
  }
  const isFancy = parts.some((part) => part?.shape?.length || typeof part === "boolean");
  if (isFancy && isApart) first = 0; // as NumPy has it
  const to = broadcast(arrays.map((x) => x.shape));
  const readers = arrays.map((x) => reader(x, to));
  const together = range(size(to)).map((k) => readers.reduce((sum, read) => sum + read(k), 0));
  return {
    shape: lists.map((list) => list.length).toSpliced(first, 0, ...to),
    places: sums(lists.toSpliced(first, 0, together)),
  };
}

function inside(k, n, axis) {
  if (k < -n || k >= n)
    throw new Unfit(`index ${k} is out of bounds for axis ${axis} of length ${n}`);
  return k < 0 ? k + n : k;
}

// ----------------------------------------------------------------------------- picked and written

const CHANGED = "a mask picks other entries than when the graph was recorded";

function unchanged(expected, masks) {
  const isOther = (mask, k) => mask.data.some((v, i) => v !== masks[k].data[i]);
  if (expected.some(isOther)) throw new Unfit(CHANGED);
}

/** Put what was computed into a key, where a string counts it. */
function filled({ params: { key } }, computed) {
  if (!Array.isArray(key)) return key;
  return key.map((part) => (typeof part === "string" ? computed[part - 1] : part));
}

/** What is written: each key with its value. Masks come last, and must be what they were. */
function writes({ params: { keys, expected = [] } }, operands) {
  unchanged(expected, operands.slice(operands.length - expected.length));
  const computed = operands.slice(keys.length);
  return keys.map((key, k) => [filled({ params: { key } }, computed), operands[k]]);
}

/** A copy with values in some places, one after the other; added to what is there if `adds`. */
function written(node, base, writes, adds) {
  const round = rounding(node.dtype);
  const out = Float64Array.from(base.data);
  for (const [key, value] of writes) {
    const { shape, places } = picked(key, node.shape);
    const read = reader(value, shape);
    places.forEach((at, k) => (out[at] = adds ? round(out[at] + read(k)) : read(k)));
  }
  return rounded(node, out);
}

function placesOf(node, numbers) {
  if (numbers.length !== size(node.shape)) throw new Unfit(CHANGED);
  return rounded(node, numbers);
}
