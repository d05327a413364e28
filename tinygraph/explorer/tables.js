/*
 * Numbers: small arrays as tables with a bar in each cell, large ones as heat-maps. A figure is made
 * once for each stop and refreshed when numbers change, so that whoever edits keeps his place.
 */

import { HeatMap } from "./heatmaps.js";
import { element, entryText, exact, inColumns, shapeText, statistics, typed } from "./words.js";

/** Whether a table holds an array; the page brings heat-maps along only where one does not. */
const isSmall = ({ shape, data }, [most, widest]) =>
  data.length <= most && (shape.at(-1) ?? 1) <= widest;

/**
 * Make a figure of one array.
 * @param item its name, index and class, and the `math` of its name
 * @param on what happens: `point(item, isOn)`, `entry(item, place)`, `edit(item, place, number)`,
 *   `open(item)`
 */
export function figure(model, item, on) {
  const { shape, data } = model.value(item.index);
  const isGiven = model.isGiven(item.index) && model.graph.nodes[item.index].name === item.name;
  const caption = element(
    "figcaption",
    {},
    nameButton(item, on),
    element("small", {}, shapeText(shape)),
  );
  const classes = [item.isRed && "red", isGiven && !item.isRed && "blue"].filter(Boolean).join(" ");
  const made = element("figure", { class: classes, "data-name": item.name }, caption);
  const reason = model.reason(item.index);
  if (reason) made.append(element("p", { class: "about" }, reason));
  if (!data.length) made.append(element("p", { class: "about" }, "no entries"));
  const part = isSmall({ shape, data }, model.graph.table)
    ? table(model, item, isGiven, on)
    : new HeatMap(model, item, isGiven, on);
  made.append(...part.content);
  part.refresh();
  return {
    made,
    item,
    refresh: () => part.refresh(),
    mark: (places, here) => part.mark(places, here),
  };
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
    const row = element(
      "tr",
      {},
      ...cells.slice(r * columns, (r + 1) * columns).map(({ cell }) => cell),
    );
    const isNewBlock = shape.length > 2 && r && r % shape.at(-2) === 0;
    if (isNewBlock) row.className = "gap";
    rows.push(row);
  }
  const label = `${item.name} ${shapeText(shape)}`;
  const grid = element(
    "table",
    { "aria-label": label, role: isGiven ? undefined : "grid" },
    element("tbody", {}, ...rows),
  );
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
  const cell = element(
    "td",
    {
      role: "gridcell",
      tabindex: -1,
      "aria-describedby": "entry",
      onpointerenter: () => on.entry(item, place),
      onfocus: () => on.entry(item, place),
    },
    text,
    mark,
  );
  return { cell, bar: mark, target: cell, write: (written) => (text.textContent = written) };
}

function given(model, item, place, on) {
  const { shape, dtype } = model.value(item.index);
  const now = () => exact(model.value(item.index).data[place], dtype);
  let written = "";
  const input = element("input", {
    inputmode: dtype[0] === "b" ? "text" : "decimal",
    autocomplete: "off",
    spellcheck: "false",
    "aria-label": entryText(item.name, shape, place),
    "aria-describedby": "entry",
    onfocus: () => {
      on.entry(item, place);
      input.value = now();
      input.select();
    },
    onblur: () => {
      commit();
      input.value = written;
    },
    onkeydown: (event) => {
      if (event.key === "Escape") input.value = now();
      if (event.key === "Escape") return input.blur();
      if (event.key !== "Enter") return;
      commit();
      input.select();
    },
  });
  const commit = () => {
    if (input.value === now()) return;
    const v = typed(input.value, dtype);
    input.setAttribute("aria-invalid", String(v === undefined));
    if (v === undefined) on.refuse(item, place, input.value);
    else if (!Object.is(v, model.value(item.index).data[place])) on.edit(item, place, v);
    if (document.activeElement === input) input.value = now();
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
