/*
 * Numbers: small arrays as tables with a bar in each cell, large ones as heat-maps. A table is made
 * once for each stop and refreshed when numbers change, so that whoever edits keeps his place.
 */

import { element, indices, inColumns, entryText, shapeText, short, statistics, statisticsText, typed } from "./words.js";

const MOST = 160; // entries of a table
const WIDEST = 14; // columns of it
const FINEST = 400; // cells of a heat-map along a side
const BARS = 28; // of a histogram

export const isSmall = ({ shape, data }) =>
  data.length <= MOST && (shape.at(-1) ?? 1) <= WIDEST;

/**
 * Make a figure of one array.
 * @param item its name, index and class, and the `math` of its name
 * @param on what happens: `point(item, isOn)`, `entry(item, place)`, `edit(item, place, number)`,
 *   `open(item)`
 */
export function figure(model, item, on) {
  const { shape, data } = model.value(item.index);
  const isGiven = model.isGiven(item.index) && model.graph.nodes[item.index].name === item.name;
  const caption = element("figcaption", {}, nameButton(item, on), element("small", {}, shapeText(shape)));
  const classes = [item.isRed && "red", isGiven && !item.isRed && "blue"].filter(Boolean).join(" ");
  const made = element("figure", { class: classes, "data-name": item.name }, caption);
  const reason = model.reason(item.index);
  if (reason) made.append(element("p", { class: "about" }, reason));
  if (!data.length) made.append(element("p", { class: "about" }, "no entries"));
  const part = isSmall({ shape, data }) ? table(model, item, isGiven, on) : heatmap(model, item, isGiven, on);
  made.append(...part.content);
  part.refresh();
  return { made, item, ...part };
}

function nameButton(item, on) {
  const button = element("button", {
    "aria-label": `${item.name}: go to where it is computed`,
    onclick: () => on.open(item),
    onpointerenter: () => on.point(item, true),
    onpointerleave: () => on.point(item, false),
    onfocus: () => on.point(item, true),
    onblur: () => on.point(item, false),
  });
  button.innerHTML = item.math;
  return button;
}

// --------------------------------------------------------------------------------------- tables

function table(model, item, isGiven, on) {
  const { shape, data } = model.value(item.index);
  const columns = shape.at(-1) ?? 1;
  const cells = Array.from(data, (_, place) =>
    isGiven ? given(model, item, place, on) : shown(item, place, on),
  );
  const rows = [];
  for (let r = 0; r * columns < data.length; r++) {
    const row = element("tr", {}, ...cells.slice(r * columns, (r + 1) * columns).map(({ cell }) => cell));
    const isNewBlock = shape.length > 2 && r && r % shape.at(-2) === 0;
    if (isNewBlock) row.className = "gap";
    rows.push(row);
  }
  const label = `${item.name} ${shapeText(shape)}`;
  const grid = element("table", { "aria-label": label, role: isGiven ? undefined : "grid" }, element("tbody", {}, ...rows));
  grid.addEventListener("keydown", (event) => move(event, cells, columns, isGiven));
  if (!isGiven && cells.length) cells[0].target.tabIndex = 0;
  return {
    content: [element("div", { class: "scroll" }, grid)],
    refresh() {
      const x = model.value(item.index);
      const write = inColumns(x);
      const changed = new Set(model.changed(item.index));
      const { least, most } = statistics(x.data);
      const scale = Math.max(Math.abs(least), Math.abs(most)) || 1;
      cells.forEach((one, place) => {
        const v = x.data[place];
        one.write(model.written(item.index, place, write));
        one.cell.classList.toggle("changed", changed.has(place));
        bar(one.bar, v / scale, least < 0);
      });
    },
    mark(places, here) {
      cells.forEach(({ cell }, place) => {
        cell.classList.toggle("from", places.has(place));
        cell.classList.toggle("here", place === here);
      });
    },
  };
}

/** A bar from the middle, or from the left where nothing is negative. */
function bar({ style }, ratio, isSigned) {
  const width = Number.isFinite(ratio) ? Math.abs(ratio) * (isSigned ? 46 : 92) : 0;
  style.width = `${width}%`;
  style.left = isSigned ? `${ratio < 0 ? 50 - width : 50}%` : "4px";
}

function shown(item, place, on) {
  const text = element("span");
  const mark = element("i");
  const cell = element("td", {
    role: "gridcell", tabindex: -1, "aria-describedby": "entry",
    onpointerenter: () => on.entry(item, place),
    onfocus: () => on.entry(item, place),
  }, text, mark);
  return { cell, bar: mark, target: cell, write: (written) => (text.textContent = written) };
}

function given(model, item, place, on) {
  const { shape, dtype } = model.value(item.index);
  const exact = () => String(model.value(item.index).data[place]).replace("-", "−");
  let written = "";
  const input = element("input", {
    inputmode: dtype[0] === "b" ? "text" : "decimal", autocomplete: "off", spellcheck: "false",
    "aria-label": entryText(item.name, shape, place), "aria-describedby": "entry",
    onfocus: () => {
      on.entry(item, place);
      input.value = exact();
      input.select();
    },
    onblur: () => {
      commit();
      input.value = written;
    },
    onkeydown: (event) => {
      if (event.key === "Enter") commit();
      if (event.key === "Escape") input.value = exact();
      if (event.key === "Enter" || event.key === "Escape") input.select();
    },
  });
  const commit = () => {
    if (input.value === exact()) return;
    const v = typed(input.value, dtype);
    const isFit = !Number.isNaN(v) || input.value.trim().toLowerCase() === "nan";
    input.setAttribute("aria-invalid", String(!isFit));
    if (isFit && !Object.is(v, model.value(item.index).data[place])) on.edit(item, place, v);
    if (document.activeElement === input) input.value = exact();
  };
  const mark = element("i");
  const cell = element("td", { onpointerenter: () => on.entry(item, place) }, input, mark);
  const write = (text) => {
    written = text;
    if (document.activeElement !== input) input.value = text;
  };
  return { cell, bar: mark, target: input, write };
}

/** Move between cells by arrow keys; in one that is typed into, only up and down. */
function move(event, cells, columns, isGiven) {
  const steps = { ArrowUp: -columns, ArrowDown: columns };
  if (!isGiven) Object.assign(steps, { ArrowLeft: -1, ArrowRight: 1 });
  if (!(event.key in steps) || event.ctrlKey || event.metaKey || event.altKey) return;
  const from = cells.findIndex(({ target }) => target === event.target);
  const to = cells[from + steps[event.key]];
  event.preventDefault();
  event.stopPropagation();
  if (!to) return;
  if (!isGiven) [cells[from].target.tabIndex, to.target.tabIndex] = [-1, 0];
  to.target.focus();
}

// ------------------------------------------------------------------------------------ heat-maps

function heatmap(model, item, isGiven, on) {
  const { shape, data, dtype } = model.value(item.index);
  const columns = Math.min(shape.at(-1) ?? 1, data.length);
  const rows = data.length / columns;
  const [wide, high] = [Math.min(columns, FINEST), Math.min(rows, FINEST)];
  let place = 0;
  const canvas = element("canvas", {
    width: wide, height: high, tabindex: 0, role: "img",
    onpointermove: (event) => {
      if (event.buttons === 0) on.entry(item, under(event));
    },
    onclick: (event) => choose(under(event)),
    onfocus: () => choose(place),
    onkeydown: (event) => {
      const steps = { ArrowUp: -columns, ArrowDown: columns, ArrowLeft: -1, ArrowRight: 1 };
      if (!(event.key in steps)) return;
      event.preventDefault();
      event.stopPropagation();
      choose(Math.min(Math.max(place + steps[event.key], 0), data.length - 1));
    },
  });
  const zoom = Math.max(1, Math.min(16, Math.floor(400 / wide), Math.floor(320 / high)));
  canvas.style.width = `${wide * zoom}px`;
  canvas.style.height = `${Math.max(high * zoom, 12)}px`;
  const under = (event) => {
    const box = canvas.getBoundingClientRect();
    const part = (at, from, length, n) => Math.min(Math.max(Math.floor(((at - from) / length) * n), 0), n - 1);
    return part(event.clientY, box.top, box.height, rows) * columns + part(event.clientX, box.left, box.width, columns);
  };
  const about = element("div", { class: "about" });
  const bars = element("svg:svg", { class: "bars", width: 260, height: 38, role: "img" });
  const label = element("span");
  const input = element("input", {
    inputmode: "decimal", autocomplete: "off", "aria-describedby": "entry",
    onchange: () => {
      const v = typed(input.value, dtype);
      if (!Number.isNaN(v)) on.edit(item, place, v);
      else choose(place);
    },
  });
  const choose = (to) => {
    place = to;
    const v = model.value(item.index).data[place];
    label.textContent = `${entryText(item.name, shape, place)} = `;
    input.setAttribute("aria-label", entryText(item.name, shape, place));
    input.value = String(v);
    canvas.setAttribute("aria-description", `entry ${indices(shape, place).join(", ")} is ${short(v, dtype)}; arrow keys move`);
    on.entry(item, place);
  };
  return {
    content: [canvas, about, bars, ...(isGiven ? [element("label", { class: "about" }, label, input)] : [])],
    refresh() {
      const x = model.value(item.index);
      paint(canvas, x.data, rows, columns);
      about.textContent = statisticsText(x.data);
      canvas.setAttribute("aria-label", `${item.name}, heat-map: ${about.textContent}`);
      histogram(bars, x.data, item.name);
      label.textContent = `${entryText(item.name, shape, place)} = `;
      input.setAttribute("aria-label", entryText(item.name, shape, place));
      if (document.activeElement !== input) input.value = String(x.data[place]);
    },
    mark() {},
  };
}

/** Orange is positive, purple negative; a cell for several entries shows the largest of them. */
function paint(canvas, data, rows, columns) {
  const { width, height } = canvas;
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
  const pixels = canvas.getContext("2d").createImageData(width, height);
  largest.forEach((v, k) => {
    const strength = Number.isFinite(v) ? Math.abs(v) / scale : 1;
    pixels.data.set([...(v < 0 ? minus : plus), 255 * Math.min(strength, 1)], 4 * k);
  });
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

function histogram(bars, data, name) {
  const { least, most } = statistics(data);
  bars.replaceChildren();
  bars.setAttribute("aria-label", `${name}: histogram from ${short(least)} to ${short(most)}`);
  if (!(most > least)) return;
  const counts = new Float64Array(BARS);
  for (const v of data)
    if (Number.isFinite(v)) counts[Math.min(Math.floor(((v - least) / (most - least)) * BARS), BARS - 1)]++;
  const highest = counts.reduce((a, b) => Math.max(a, b));
  counts.forEach((n, k) => {
    const height = Math.round((36 * n) / highest) || (n ? 1 : 0);
    bars.append(element("svg:rect", { x: (k * 260) / BARS, y: 37 - height, width: 260 / BARS - 1, height }));
  });
}
