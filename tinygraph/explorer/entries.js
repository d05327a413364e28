/*
 * One entry: the equation with its numbers, and which entries it is computed of.
 */

import { plugged, sources } from "./plugged.js";
import { element, entryText, short } from "./words.js";

/** Write an entry out: what it is computed of, what it is, and what it was. */
export function explain(model, name, index, place) {
  const { graph, now, first } = model;
  const { shape, dtype } = graph.nodes[index];
  const v = model.value(index).data[place];
  const number = (x) => short(x, dtype ?? "f8");
  const said = [element("b", {}, entryText(name, shape, place)), " = "];
  if (graph.nodes[index].op !== null && !graph.leaves.has(index)) {
    const parts = plugged(graph, now, index, place, number, name).map((part) => part.text ?? part);
    if (parts.join("") !== number(v)) said.push(parts.join(""), " = ");
  }
  said.push(element("b", {}, model.written(index, place)));
  const old = first.values[index].data[place];
  if (!Object.is(old, v)) said.push(`, was ${number(old)}`);
  return [element("span", {}, ...said), ...checked(model, index, place, v)];
}

/** Hold a gradient of an input to what its output does when the input is moved a little. */
function checked(model, index, place, v) {
  const { gradients, nodes } = model.graph;
  const g = gradients.find(
    ({ node, of, kind }) => node === index && nodes[of].role === "input" && kind !== "part",
  );
  const rate = g && model.rate(g.of, place);
  if (rate === undefined || rate === null) return [];
  const [input, ends] = [entryText(nodes[g.of].name, nodes[g.of].shape, place), endsText(model)];
  const isNear = (x) => Math.abs(rate - x) <= 1e-4 * Math.max(Math.abs(rate), model.scale(index));
  const isRight = isNear(v);
  // at a kink, differences say nothing: only what is left out can be wrong
  if (!isRight && !isNear(model.whole.values[index].data[place])) return [];
  const said = `if ${input} moves a little, ${ends} changes at the rate ${short(rate)}`;
  return [
    element("span", { class: isRight ? "" : "off" }, isRight ? `✓ ${said}` : `✗ but ${said}`),
  ];
}

function endsText({ graph }) {
  const ends = graph.gradients.filter(({ kind }) => kind === "upstream");
  return ends
    .map(
      ({ name, of }) =>
        `${graph.nodes[of].shape.length ? "Σ " : ""}${name} · ${graph.nodes[of].name}`,
    )
    .join(" + ");
}

/** Which entries of values that have a name an entry is computed of: sets of places, by node. */
export function feeding(model, index, place) {
  const { graph, now } = model;
  const found = new Map();
  const seen = new Set();
  const visit = (node, at, isFirst) => {
    const { name, op, role } = graph.nodes[node];
    const key = `${node} ${at}`;
    if (role === "constant" || seen.has(key)) return;
    seen.add(key);
    if (!isFirst && (name || op === null)) {
      if (!found.has(node)) found.set(node, new Set());
      found.get(node).add(at);
      return;
    }
    const from = graph.leaves.has(node) ? [] : (sources(graph, now, node, at) ?? []);
    for (const { operand, entry } of from)
      if (!now.left.get(node)?.includes(operand))
        visit(graph.nodes[node].inputs[operand], entry, false);
  };
  visit(index, place, true);
  return found;
}
