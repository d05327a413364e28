/*
 * The page: one stop of the walk at a time, in the picture, as equations, and in numbers.
 */

import { explain, feeding } from "./entries.js";
import { LEGEND } from "./heatmaps.js";
import { Model } from "./model.js";
import { changeText, errorText, pathButtons } from "./paths.js";
import { Picture } from "./picture.js";
import { reportLines, reportOf } from "./report.js";
import { Stops } from "./stops.js";
import { figure } from "./tables.js";
import { Walk } from "./walk.js";
import { byId, element, entryText, shapeText, short, statisticsText } from "./words.js";

const payload = JSON.parse(byId("data").textContent);
const model = new Model(payload);
const { graph } = model;
/** A page without a report comes without its script. */
const report = payload.report
  ? reportOf(payload.report, graph)
  : { steps: new Set(), wrong: new Set(), at: () => [] };
const stops = new Stops(payload, model);

// ------------------------------------------------------------------------------------------ one stop

const walk = new Walk(stops.steps, stops.back, report.steps, show);
const picture = new Picture(graph, report.wrong, (part) => {
  const isBack = part.gradient !== undefined || walk.stop.isBack;
  walk.go(walk.find(isBack, part.steps.at(isBack ? -1 : 0)));
});
let figures = [];
let shownEntry = null;
let isOpen = false;

function show(said = "") {
  const { stop } = walk;
  const lines = stops.lines(stop);
  model.refused = "";
  document.body.className = stop.isBack ? "backward" : "forward";
  walk.draw();
  picture.paint(stop, model.cut, live);
  where(stop);
  byId("back").disabled = walk.at === 0;
  byId("next").disabled = walk.at === walk.stops.length - 1;
  byId("equations").replaceChildren(...(lines.length ? lines.map(written) : [opening(stop)]));
  numbers(stop, lines);
  opened(lines);
  if (payload.report) reportLines(report, walk, byId("checked"));
  refresh();
  say([said, ...lines.map((line) => line.spoken)].filter(Boolean).join("; "));
}

/** The gradients as a whole, by what they are gradients of. */
const arriving = new Map(graph.gradients.filter((g) => g.kind !== "part").map((g) => [g.of, g]));

/** Value and gradient of a number, as far as the walk has computed them. */
function live(index, isBack, step) {
  const g = arriving.get(index);
  const v = isBack || graph.nodes[index].step <= step ? index : -1;
  const number = (k) => (k >= 0 && model.value(k).data ? short(model.value(k).data[0]) : "–");
  return `${number(v)} | ${number(g && isBack && g.step >= step ? g.node : -1)}`;
}

function say(text) {
  byId("live").textContent = `${byId("where").textContent}: ${text}`;
}

function where({ isBack, step }) {
  const scope = isBack || step ? (stops.steps[step]?.scope ?? []) : [];
  const title = isBack ? "Backward" : step ? "Forward" : "Inputs";
  const count = isBack || step ? ` · step ${step} of ${stops.last}` : "";
  byId("where").replaceChildren(element("b", {}, title), [count, ...scope].join(" · ").trimEnd());
}

function opening({ isBack, step }) {
  if (isBack || step) return element("p", {}, "Nothing is computed in this step.");
  const forward = `Forward in ${stops.last} step${stops.last > 1 ? "s" : ""}, black`;
  const back = stops.back.length ? "; then back, red" : "";
  const canChange = graph.nodes.some(({ index }) => model.isGiven(index));
  const change = canChange ? ", or change a blue number" : "";
  return element("p", {}, `${forward}${back}. Press → to go on${change}.`);
}

function written(line) {
  const { math } = stops.equation(line);
  return element(
    "div",
    { class: "equation", "data-line": line.name },
    math,
    element("small", {}, shapeText(graph.nodes[line.node].shape)),
  );
}

function numbers(stop, lines) {
  const isStart = !stop.isBack && !stop.step;
  const gives = isStart ? stops.inputs() : stops.items(lines, "gives");
  const reads = stops.items(lines, "reads");
  for (const name of gives.keys()) reads.delete(name);
  const names = lines.filter((line) => line.given).flatMap((line) => stops.equation(line).gives);
  const given = new Map([...gives].filter(([name]) => names.includes(name)));
  for (const name of given.keys()) gives.delete(name);
  const title = isStart ? "change me" : "gives";
  figures = [];
  const group = (name, some) => {
    if (!some.size) return [];
    const made = [...some.values()].map((one) => figure(model, one, on));
    figures.push(...made);
    return [
      element("div", { class: "group" }, element("h3", {}, name), ...made.map((one) => one.made)),
    ];
  };
  byId("numbers").replaceChildren(
    ...group("arrives", given),
    ...group("reads", reads),
    ...group(title, gives),
  );
  const first = [...(gives.size ? gives : given).values()].at(-1);
  // an entry of what is only read is written out where the pointer is, and not at the next stop
  const isKept = gives.has(shownEntry?.item.name);
  const isShown = lines.length && first && model.value(first.index).data?.length;
  if (!isKept)
    shownEntry = isShown ? { item: first, place: firstPlace(model.value(first.index).data) } : null;
}

/** The first entry that says something. */
const firstPlace = (data) =>
  Math.max(
    data.findIndex((v) => v !== 0 && Number.isFinite(v)),
    0,
  );

/** Bring every number up to date, and what is said of changes. */
function refresh() {
  figures.forEach((one) => one.refresh());
  byId("undo").hidden = !model.isChanged;
  const lines = stops.lines(walk.stop);
  const focused = document.activeElement?.dataset?.key;
  byId("paths").replaceChildren(...pathButtons(model, lines, changed));
  if (focused)
    byId("paths").querySelector(`[data-key="${focused}"]`)?.focus({ preventScroll: true });
  strike(lines);
  const said = [];
  for (const text of [model.refused, model.trouble])
    if (text) said.push(element("p", { class: "off" }, text));
  if (model.cut.size) said.push(element("p", { class: "off" }, errorText(model)));
  if (model.edits.length) {
    const { index, place, was } = model.edits.at(-1);
    const { shape, data, dtype } = model.value(index);
    const name = entryText(graph.nodes[index].name, shape, place);
    said.push(
      element(
        "p",
        {},
        `${name} is ${short(data[place], dtype)}, was ${short(was, dtype)}; ${changeText(model)}`,
      ),
    );
  }
  said.push(...report.at(walk.stop));
  byId("said").replaceChildren(...said);
  entry(shownEntry);
}

/** Strike out the terms that are left out of sums. */
function strike(lines) {
  for (const line of lines)
    for (const k of line.terms)
      for (const term of parts(stops.equation(line).math, graph.gradients[k].name))
        term.classList.toggle("left", model.cut.has(k));
}

const parts = (within, name) => within.querySelectorAll(`[data-v="${CSS.escape(name)}"]`);

function changed(said) {
  picture.paint(walk.stop, model.cut, live);
  refresh();
  say(said);
}

// ------------------------------------------------------------------------------------- one entry

function entry(next) {
  shownEntry = next;
  const line = byId("entry");
  if (!next) return line.replaceChildren();
  const {
    item: { index, name },
    place,
  } = next;
  line.replaceChildren(...explain(model, name, index, place));
  const from = feeding(model, index, place);
  for (const one of figures) {
    const isHere = one.item.name === name;
    one.mark((!isHere && from.get(one.item.index)) || new Set(), isHere ? place : -1);
  }
}

function point({ name, index }, isOn) {
  picture.point(name, index, isOn);
  for (const part of parts(byId("equations"), name)) part.classList.toggle("point", isOn);
}

/** Where a name is computed: the stop to go to. */
function home(name, index) {
  const gradient = graph.gradients.find((g) => g.name === name);
  return gradient ? walk.find(true, gradient.step) : walk.find(false, graph.nodes[index].step);
}

const on = {
  point,
  entry: (one, place) => entry({ item: one, place }),
  edit(one, place, number) {
    model.edit(one.index, place, number);
    changed(model.refused || `${entryText(one.name, model.value(one.index).shape, place)} changed`);
  },
  refuse(one, place, text) {
    const { shape, dtype } = model.value(one.index);
    const kind = { b: "neither True nor False", i: "no whole number", u: "no whole number" }[
      dtype[0]
    ];
    model.refused = `${text || "nothing"} is ${kind ?? "no number"}: ${entryText(one.name, shape, place)} stays.`;
    changed(model.refused);
  },
  open: ({ name, index }) => walk.go(home(name, index)),
};

byId("equations").addEventListener("pointerover", (event) => {
  const name = event.target.closest("[data-v]")?.dataset.v;
  if (name) point({ name, index: model.indexOf.get(name) }, true);
});
byId("equations").addEventListener("pointerout", (event) => {
  const name = event.target.closest("[data-v]")?.dataset.v;
  if (name) point({ name, index: model.indexOf.get(name) }, false);
});

// ------------------------------------------------------------------------ the primitives of a step

function opened(lines) {
  const computes = [...new Set(lines.flatMap((line) => line.computes))].filter(
    (k) => graph.nodes[k].op,
  );
  if (!computes.length) return byId("opened").replaceChildren();
  const called = (k) => {
    const { name, role, shape } = graph.nodes[k];
    if (role === "constant" && !shape.length && model.value(k).data)
      return name ?? short(model.value(k).data[0]);
    return name ?? `#${k}`;
  };
  const rows = computes.map((k) => {
    const { op, inputs, shape } = graph.nodes[k];
    const one =
      shape.length || !model.value(k).data ? shapeText(shape) : short(model.value(k).data[0]);
    return element("li", {}, `${called(k)} = ${op}(${inputs.map(called).join(", ")})  ${one}`);
  });
  const summary = element("summary", {}, `${rows.length} primitive${rows.length > 1 ? "s" : ""}`);
  const details = element(
    "details",
    { open: isOpen, ontoggle: () => (isOpen = details.open) },
    summary,
    element("ol", {}, ...rows),
  );
  byId("opened").replaceChildren(details);
}

// ----------------------------------------------------------------------------------------- the rest

byId("undo").addEventListener("click", () => {
  model.undo();
  changed("all changes undone");
});
byId("back").addEventListener("click", () => walk.go(walk.at - 1));
byId("next").addEventListener("click", () => walk.go(walk.at + 1));
byId("open").hidden = !picture.hidden.length;
byId("open").addEventListener("click", swap);

function swap() {
  if (!picture.hidden.length) return;
  picture.swap();
  byId("open").setAttribute(
    "aria-pressed",
    String(byId("open").getAttribute("aria-pressed") !== "true"),
  );
  picture.paint(walk.stop, model.cut, live);
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, textarea"))
    return;
  if (event.key === "p") swap();
  else if (!walk.key(event.key)) return;
  event.preventDefault();
});
addEventListener("hashchange", () => walk.follow(location.hash) && show());
addEventListener("resize", () => {
  walk.draw();
  picture.fit();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", refresh);

/** On paper: the picture, and all equations with shapes and statistics. */
addEventListener("beforeprint", () => {
  const rows = stops.all.flatMap((stop) =>
    stop.lines.map((line) => {
      const { shape } = graph.nodes[line.node];
      const { data } = model.value(line.node);
      const cells = [
        String(stop.step),
        stops.equation(line).math.cloneNode(true),
        shapeText(shape),
        data ? statisticsText(data) : "",
      ];
      const isBack = payload.backward.includes(stop);
      return element(
        "tr",
        { class: isBack ? "back" : "" },
        ...cells.map((cell) => element("td", {}, cell)),
      );
    }),
  );
  byId("print").replaceChildren(element("table", {}, element("tbody", {}, ...rows)));
});
addEventListener("afterprint", () => byId("print").replaceChildren());

for (const [k, weight] of ["400", "700"].entries()) {
  // made of bytes, a font is no request, which a strict policy would refuse
  const bytes = Uint8Array.from(atob(payload.font[k]), (c) => c.charCodeAt(0));
  document.fonts.add(new FontFace(payload.family, bytes, { weight }));
}
if (LEGEND) byId("legend").append(` ${LEGEND}`);
if (payload.drawn.length)
  byId("legend").append(
    ` ${payload.drawn.map((k) => graph.nodes[k].name).join(", ")}: random, since none was given.`,
  );
for (const note of payload.notes) byId("legend").insertAdjacentHTML("beforeend", ` ${note}`);
// without a script there is nothing to press
for (const part of document.querySelectorAll(".head, footer")) part.hidden = false;
picture.fit();
walk.follow(location.hash);
show();
