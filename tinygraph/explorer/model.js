/*
 * What the page is about: the graph with its values as they are now, as they were at first, and as
 * they would be without anything left out.
 */

import { broken, compute, difference, edited, paths, read, Unfit } from "./compute.js";
import { short } from "./words.js";

const MOST = 1e5; // numbers, of which a rate is found while the pointer moves

export class Model {
  constructor(payload) {
    this.graph = read(payload);
    this.texts = payload.values;
    this.first = compute(this.graph);
    const lines = this.graph.backward.flatMap((stop) => stop.lines);
    const shown = new Set(lines.flatMap((line) => line.gradients));
    /** The gradients that add up, by what they are gradients of, but for those that are always 0. */
    this.paths = new Map();
    for (const [of, parts] of paths(this.graph))
      this.paths.set(
        of,
        parts.filter((k) => shown.has(k)),
      );
    this.indexOf = new Map();
    for (const { name, index, role } of this.graph.nodes)
      if (name && role !== "constant" && !this.indexOf.has(name)) this.indexOf.set(name, index);
    for (const { name, node } of this.graph.gradients) if (name) this.indexOf.set(name, node);
    this.undo();
  }

  undo() {
    this.given = new Map();
    this.cut = new Set();
    this.edits = [];
    this.now = this.whole = this.first;
    this.trouble = this.refused = "";
  }

  get isChanged() {
    return this.edits.length > 0 || this.cut.size > 0;
  }

  value(index) {
    return this.now.values[index];
  }

  /** Whether numbers can be changed: of what the page can compute everything from. */
  isGiven(index) {
    const { op, role } = this.graph.nodes[index];
    return op === null && role !== "constant" && !(index in this.graph.locked);
  }

  /** Why numbers are shown, but cannot be changed or are not computed here; else nothing. */
  reason(index) {
    return this.graph.locked[index] ?? this.graph.fixed[index] ?? "";
  }

  /** Write a number: a complex one or a fraction as Python has written it. */
  written(index, place, write = short) {
    const { data, dtype } = this.value(index);
    return this.texts[index]?.text?.[place] ?? write(data[place], dtype ?? "f8");
  }

  edit(index, place, number) {
    const old = this.value(index);
    const was = old.data[place];
    const given = new Map(this.given).set(index, edited(old, place, number));
    const before = this.whole;
    if (this._run(given, this.cut)) this.edits.push({ index, place, was, before });
    if (this.edits.length > 1) delete this.edits.at(-2).before;
  }

  /** Leave paths out, or put them back: positions of gradients. */
  leaveOut(positions, isOut) {
    const cut = new Set(this.cut);
    for (const k of positions)
      if (isOut) cut.add(k);
      else cut.delete(k);
    this._run(this.given, cut);
  }

  /** Follow one path alone: leave out the other ones of its sum. */
  follow(position) {
    const siblings = this.paths.get(this.graph.gradients[position].of);
    const cut = new Set([...this.cut, ...siblings]);
    cut.delete(position);
    this._run(this.given, cut);
  }

  _run(given, cut) {
    try {
      const whole = compute(this.graph, { given, before: this.whole });
      this.now = cut.size ? compute(this.graph, { given, cut, before: this.now }) : whole;
      [this.given, this.cut, this.whole] = [given, cut, whole];
      this.refused = "";
      const asked = broken(this.graph, whole).map(({ text }) => text);
      this.trouble = asked.length
        ? `When this was recorded, ${asked.join(", ")}; with these numbers the code might take another branch.`
        : "";
      return true;
    } catch (error) {
      if (!(error instanceof Unfit)) throw error;
      this.refused = `Not changed: ${error.message}.`;
      return false;
    }
  }

  /** Which entries are not as at first. */
  changed(index) {
    return difference(this.value(index), this.first.values[index]).entries;
  }

  /** Which entries the last edit has changed. */
  changedLast(index) {
    const { before } = this.edits.at(-1);
    return difference(this.whole.values[index], before.values[index]).entries;
  }

  /** By how much what is left out makes a value wrong, at most. */
  error(index) {
    return difference(this.value(index), this.whole.values[index]);
  }

  /** The largest number of an array: what its errors are measured by. */
  scale(index) {
    return this.value(index).data.reduce((m, v) => Math.max(m, Math.abs(v) || 0), 0);
  }

  /**
   * The rate at which Σ upstream · output changes with one entry of an input, found by moving it a
   * little up and down: what its gradient should be, without any rule of differentiation.
   */
  rate(index, place) {
    const x = this.value(index);
    const isLarge = this.now.values.reduce((n, { data }) => n + (data?.length ?? 0), 0) > MOST;
    if (x.dtype !== "f8" || !Number.isFinite(x.data[place]) || isLarge) return null;
    const step = 1e-5 * Math.max(Math.abs(x.data[place]), 1);
    const ends = this.graph.gradients.filter((g) => g.kind === "upstream");
    const last = Math.max(...ends.map((g) => g.of));
    const forward = { ...this.graph, nodes: this.graph.nodes.slice(0, last + 1) };
    const along = (h) => {
      const given = new Map(this.given).set(index, edited(x, place, x.data[place] + h));
      const { values } = compute(forward, { given, before: this.whole });
      const dot = (a, b) => a.reduce((sum, v, k) => sum + v * b[k], 0);
      return ends.reduce((sum, g) => sum + dot(values[g.of].data, this.value(g.node).data), 0);
    };
    try {
      return (along(step) - along(-step)) / (2 * step);
    } catch (error) {
      if (error instanceof Unfit) return null;
      throw error;
    }
  }
}
