/*
 * Heat-maps: orange is positive and purple negative, outside the colours of the pictures. Below are
 * statistics and a histogram, and one entry that is chosen by pointer or arrow keys.
 */

import { element, entryText, exact, short, statistics, statisticsText, typed } from "./words.js";

const FINEST = 400; // cells along a side
const BARS = 28; // of the histogram
const ROOM = [400, 320]; // that a map fills, in px, but with cells of no more than
const LARGEST = 16;
export const LEGEND = "In heat-maps orange is positive and purple negative, the deeper the larger.";

export class HeatMap {
  constructor(model, item, isGiven, on) {
    Object.assign(this, { model, item, on, place: 0 });
    const { shape, data } = model.value(item.index);
    this.columns = Math.min(shape.at(-1) ?? 1, data.length);
    this.rows = data.length / this.columns;
    this.canvas = this._canvas();
    this.frame = element("div", { class: "mark", hidden: true });
    this.about = element("div", { class: "about" });
    this.bars = element("svg:svg", { class: "bars", width: 260, height: 38, role: "img" });
    this.content = [
      element("div", { class: "map" }, this.canvas, this.frame),
      this.about,
      this.bars,
    ];
    if (isGiven) this.content.push(this._entry());
  }

  _canvas() {
    const [width, height] = [Math.min(this.columns, FINEST), Math.min(this.rows, FINEST)];
    const canvas = element("canvas", {
      width,
      height,
      tabindex: 0,
      role: "img",
      onpointermove: (event) => event.buttons || this.on.entry(this.item, this._under(event)),
      onclick: (event) => this._choose(this._under(event)),
      onfocus: () => this._choose(this.place),
      onkeydown: (event) => this._move(event),
    });
    const fits = Math.min(LARGEST, ROOM[0] / width, ROOM[1] / height);
    const zoom = Math.max(1, Math.floor(fits));
    canvas.style.width = `${width * zoom}px`;
    canvas.style.height = `${Math.max(height * zoom, 12)}px`;
    return canvas;
  }

  _entry() {
    this.label = element("span");
    this.input = element("input", {
      inputmode: "decimal",
      autocomplete: "off",
      "aria-describedby": "entry",
      onkeydown: ({ key }) => {
        if (key !== "Escape") return;
        this._say();
        this.input.blur();
      },
      onchange: () => {
        const v = typed(this.input.value, this.model.value(this.item.index).dtype);
        if (v === undefined) this.on.refuse(this.item, this.place, this.input.value);
        else this.on.edit(this.item, this.place, v);
        this._choose(this.place);
      },
    });
    return element("label", { class: "about" }, this.label, this.input);
  }

  /** The place under the pointer. */
  _under({ clientX, clientY }) {
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    const part = (at, n) => Math.min(Math.max(Math.floor(at * n), 0), n - 1);
    const row = part((clientY - top) / height, this.rows);
    return row * this.columns + part((clientX - left) / width, this.columns);
  }

  _move(event) {
    const { columns } = this;
    const steps = { ArrowUp: -columns, ArrowDown: columns, ArrowLeft: -1, ArrowRight: 1 };
    if (!(event.key in steps)) return;
    event.preventDefault();
    event.stopPropagation();
    const to = this.place + steps[event.key];
    if (to >= 0 && to < this.rows * columns) this._choose(to);
  }

  _choose(place) {
    this.place = place;
    this._say();
    this.on.entry(this.item, place);
  }

  /** Say which entry is chosen. */
  _say() {
    const { shape, dtype, data } = this.model.value(this.item.index);
    const name = entryText(this.item.name, shape, this.place);
    const v = data[this.place];
    this.canvas.setAttribute("aria-description", `${name} is ${short(v, dtype)}; arrow keys move`);
    if (!this.input) return;
    this.label.textContent = `${name} = `;
    this.input.setAttribute("aria-label", name);
    this.input.value = exact(v, dtype);
  }

  refresh() {
    const { data } = this.model.value(this.item.index);
    this._paint(data);
    this._count(data);
    this.about.textContent = statisticsText(data);
    this.canvas.setAttribute(
      "aria-label",
      `${this.item.name}, heat-map: ${this.about.textContent}`,
    );
    this._say();
  }

  /** A cell for several entries shows the largest of them. */
  _paint(data) {
    const { rows, columns } = this;
    const { width, height } = this.canvas;
    const largest = new Float64Array(width * height);
    for (let k = 0, r = 0; r < rows; r++) {
      const from = Math.floor((r * height) / rows) * width;
      for (let c = 0; c < columns; c++, k++) {
        const cell = from + Math.floor((c * width) / columns);
        if (!(Math.abs(data[k]) <= Math.abs(largest[cell]))) largest[cell] = data[k];
      }
    }
    const { least, most } = statistics(data);
    const scale = Math.max(Math.abs(least), Math.abs(most)) || 1;
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).split(",").map(Number);
    const [plus, minus] = [color("--plus"), color("--minus")];
    const context = this.canvas.getContext("2d");
    const pixels = context.createImageData(width, height);
    largest.forEach((v, k) => {
      const strength = Number.isFinite(v) ? Math.abs(v) / scale : 1;
      pixels.data.set([...(v < 0 ? minus : plus), 255 * Math.min(strength, 1)], 4 * k);
    });
    context.putImageData(pixels, 0, 0);
  }

  _count(data) {
    const { least, most } = statistics(data);
    this.bars.replaceChildren();
    const range = `from ${short(least)} to ${short(most)}`;
    this.bars.setAttribute("aria-label", `${this.item.name}: histogram ${range}`);
    if (!(most > least)) return;
    const counts = new Float64Array(BARS);
    const scale = BARS / (most - least);
    for (const v of data)
      if (Number.isFinite(v)) counts[Math.min(Math.floor((v - least) * scale), BARS - 1)]++;
    const highest = Math.max(...counts);
    const width = 260 / BARS;
    counts.forEach((n, k) => {
      const height = Math.round((36 * n) / highest) || (n ? 1 : 0);
      const bar = { x: k * width, y: 37 - height, width: width - 1, height };
      this.bars.append(element("svg:rect", bar));
    });
  }

  /** Frame the entries that another one is computed of, where they are a block. */
  mark(places, here) {
    const all = here >= 0 ? [here] : [...places];
    const span = (of) => {
      const found = all.map(of);
      const first = found.reduce((a, b) => Math.min(a, b), Infinity);
      return [first, found.reduce((a, b) => Math.max(a, b), -1) - first + 1];
    };
    const [top, high] = span((place) => Math.floor(place / this.columns));
    const [left, wide] = span((place) => place % this.columns);
    this.frame.hidden = !all.length || high * wide !== all.length;
    if (this.frame.hidden) return;
    const { style } = this.frame;
    const percent = (part, whole) => `${(100 * part) / whole}%`;
    [style.left, style.width] = [percent(left, this.columns), percent(wide, this.columns)];
    [style.top, style.height] = [percent(top, this.rows), percent(high, this.rows)];
  }
}
