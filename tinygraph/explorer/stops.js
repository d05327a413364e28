/*
 * What each stop of the walk consists of: equations as elements, and the arrays that they name.
 */

import { element } from "./words.js";

export class Stops {
  constructor(payload, model) {
    this.model = model;
    this.nodes = model.graph.nodes;
    this.all = [...payload.forward, ...payload.backward];
    this.last = payload.forward.length;
    this._lines = [payload.forward, payload.backward].map(
      (stops) => new Map(stops.map(({ step, lines }) => [step, lines])),
    );
    this._equations = new Map();
    this._math = new Map(); // how each name is written
    const inputs = { name: "inputs", scope: [] };
    const forward = payload.forward.map(({ lines, scope }) => ({ name: lines[0].name, scope }));
    this.steps = [inputs, ...forward];
    /** The gradients of each step, of some none. */
    this.back = payload.backward.length
      ? this.steps.map((_, step) => this.lines({ isBack: true, step }).map(({ name }) => name))
      : [];
  }

  lines({ isBack, step }) {
    return this._lines[Number(isBack)].get(step) ?? [];
  }

  /** An equation as an element, and the names left and right of its sign. */
  equation(line) {
    if (!this._equations.has(line)) this._equations.set(line, this._parsed(line));
    return this._equations.get(line);
  }

  _parsed({ mathml, spoken }) {
    const holder = document.createElement("template");
    holder.innerHTML = `<math><mrow>${mathml}</mrow></math>`;
    const math = holder.content.firstElementChild;
    math.setAttribute("aria-label", spoken);
    const parts = Array.from(math.firstElementChild.children);
    const sign = parts.findIndex((part) => part.localName === "mo" && part.textContent === "=");
    return {
      math,
      gives: this._names(parts.slice(0, sign)),
      reads: this._names(parts.slice(sign)),
    };
  }

  _names(parts) {
    const found = parts.flatMap((part) => [
      ...(part.matches("[data-v]") ? [part] : []),
      ...part.querySelectorAll("[data-v]"),
    ]);
    for (const { dataset, outerHTML } of found)
      if (!this._math.has(dataset.v)) this._math.set(dataset.v, outerHTML);
    return [...new Set(found.map(({ dataset }) => dataset.v))];
  }

  /** The arrays that lines read, or give, each once. */
  items(lines, side) {
    const found = new Map();
    for (const line of lines) {
      const names = this.equation(line)[side];
      const nodes = side === "reads" ? line.reads : [line.node];
      names.forEach((name, k) => {
        const index = names.length === nodes.length ? nodes[k] : this.model.indexOf.get(name);
        if (index === undefined || found.has(name) || this._isNumber(index)) return;
        found.set(name, this.item(name, index));
      });
    }
    return found;
  }

  item(name, index) {
    const isRed = !["input", "forward", "constant"].includes(this.nodes[index].role);
    return { name, index, isRed, math: this._mathOf(name, index) };
  }

  /** The inputs, which no line gives. */
  inputs() {
    const given = this.nodes.filter(({ role }) => role === "input");
    return new Map(given.map(({ name, index }) => [name, this.item(name, index)]));
  }

  /** Whether a node is a number that equations show by its name, such as eps. */
  _isNumber(index) {
    return this.nodes[index].role === "constant" && !this.nodes[index].shape.length;
  }

  /** How a name is written in the first equation that has it. */
  _mathOf(name, index) {
    if (!this._math.has(name)) {
      const lines = this.all.flatMap((stop) => stop.lines);
      const line = lines.find((one) => one.node === index || one.reads.includes(index));
      if (line) this.equation(line);
    }
    const math = this._math.get(name);
    return math ? `<math aria-hidden="true">${math}</math>` : element("i", {}, name).innerHTML;
  }
}
