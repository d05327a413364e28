/*
 * Numbers, shapes and places as a person writes them, and elements of the page.
 */

const MOST = 6; // rows or columns that are named
const MINUS = (text) => text.replace(/-/g, "−");

/** Write one number in four digits; whole ones and those of ints as they are. */
export function short(v, dtype = "f8") {
  if (dtype === "b1") return v ? "True" : "False";
  if (Number.isNaN(v)) return "nan";
  if (!Number.isFinite(v)) return v < 0 ? "−∞" : "∞";
  if (Number.isInteger(v) && Math.abs(v) < 1e6) return MINUS(String(v));
  const size = Math.abs(v);
  const rounded = Number(v.toPrecision(4));
  if (size >= 1e6 || size < 1e-4) return MINUS(rounded.toExponential().replace("e+", "e"));
  return MINUS(String(rounded));
}

/** How all numbers of one table are written: with the decimals that its largest one needs. */
export function inColumns({ data, dtype }) {
  if (dtype[0] !== "f") return (v) => short(v, dtype);
  const most = data.reduce((m, v) => (Number.isFinite(v) ? Math.max(m, Math.abs(v)) : m), 0);
  const power = most ? Math.floor(Math.log10(most)) : 0;
  if (power > 5 || power < -4) return (v) => short(v);
  const digits = Math.min(Math.max(3 - power, 0), 6);
  const decimals = data.every((v) => v === Number(v.toFixed(1))) ? Math.min(digits, 1) : digits;
  return (v) =>
    Number.isFinite(v) ? MINUS((v || 0).toFixed(decimals)).replace(/^−(?=[0.]*$)/, "") : short(v);
}

/** Write a number so that reading it gives the same one. */
export function exact(v, dtype) {
  if (dtype === "b1" || !Number.isFinite(v)) return short(v, dtype);
  if (dtype !== "f4") return MINUS(String(v));
  const digits = [6, 7, 8, 9].find((n) => Math.fround(v.toPrecision(n)) === v);
  return MINUS(String(Number(v.toPrecision(digits ?? 9))));
}

/** Read what a person has typed; nothing where that is no number of the dtype. */
export function typed(text, dtype) {
  const plain = text.trim().toLowerCase().replace(/−/g, "-");
  if (dtype === "b1") return { true: 1, 1: 1, false: 0, 0: 0 }[plain];
  const [, sign, word] = /^([+-]?)(nan|inf|infinity|∞)$/.exec(plain) ?? [];
  const v = word ? Number(`${sign}1`) * (word === "nan" ? NaN : Infinity) : Number(plain);
  const isGiven = word ?? (plain !== "" && Number.isFinite(v));
  return isGiven && (dtype[0] === "f" || Number.isInteger(v)) ? v : undefined;
}

/** A shape as Python has it; that a number has none goes without saying. */
export function shapeText(shape) {
  if (!shape.length) return "";
  return shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(", ")})`;
}

/** The indices of the entry at a place, slowest first. */
export function indices(shape, place) {
  const found = [];
  for (let k = shape.length - 1; k >= 0; k--) {
    found.unshift(place % shape[k]);
    place = Math.floor(place / shape[k]);
  }
  return found;
}

export const entryText = (name, shape, place) =>
  shape.length ? `${name}[${indices(shape, place).join(", ")}]` : name;

/** Say which entries of an array are meant: whole rows and columns where they are. */
export function placesText(shape, places) {
  const total = shape.reduce((n, k) => n * k, 1);
  if (places.length === total) return total === 1 ? "" : " in every entry";
  const [rows, columns] = [...(shape.length === 2 ? shape : [])].map((_, axis) => [
    ...new Set(places.map((place) => indices(shape, place)[axis])),
  ]);
  const isBlock = rows && rows.length * columns.length === places.length;
  const said = (some, one) => `${one}${some.length > 1 ? "s" : ""} ${some.join(", ")}`;
  if (isBlock && rows.length === shape[0] && columns.length <= MOST)
    return ` in every row of ${said(columns, "column")}`;
  if (isBlock && columns.length === shape[1] && rows.length <= MOST)
    return ` in ${said(rows, "row")}`;
  return places.length === 1
    ? ` at [${indices(shape, places[0]).join(", ")}]`
    : ` in ${places.length} of ${total} entries`;
}

/** Smallest, largest, mean and norm; once for each array. */
const KNOWN = new WeakMap();
export function statistics(data) {
  if (!KNOWN.has(data)) {
    let [least, most, sum, squares, odd] = [Infinity, -Infinity, 0, 0, 0];
    for (const v of data) {
      if (!Number.isFinite(v)) odd++;
      else {
        least = Math.min(least, v);
        most = Math.max(most, v);
      }
      sum += v;
      squares += v * v;
    }
    KNOWN.set(data, { least, most, odd, mean: sum / data.length, norm: Math.sqrt(squares) });
  }
  return KNOWN.get(data);
}

export function statisticsText(data) {
  if (!data.length) return "no entries";
  const { least, most, mean, norm, odd } = statistics(data);
  const finite = `min ${short(least)} · mean ${short(mean)} · max ${short(most)} · norm ${short(norm)}`;
  return odd ? `${odd} nan or ∞ · min ${short(least)} · max ${short(most)}` : finite;
}

/** Make an element: attributes by name, listeners by `on…`, then what is in it. */
export function element(tag, attributes = {}, ...content) {
  const [name, space] = tag.startsWith("svg:")
    ? [tag.slice(4), "http://www.w3.org/2000/svg"]
    : [tag];
  const made = space ? document.createElementNS(space, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== undefined && value !== false)
      made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...content.filter((one) => one));
  return made;
}

export const byId = (id) => document.getElementById(id);
