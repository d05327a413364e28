/*
 * Paths: where several gradients of one value are added up, one can be left out, or followed alone.
 */

import { element, placesText, short } from "./words.js";

/** Draw a button for each path into the values of these lines. */
export function pathButtons(model, lines, onChange) {
  const { graph } = model;
  const sums = lines
    .flatMap((line) => line.gradients.map((k) => graph.gradients[k]))
    .filter((g) => g.kind === "sum");
  return sums.flatMap(({ of }) => {
    const parts = model.paths.get(of);
    if (parts.length < 2) return [];
    const toggle = (k) => {
      model.leaveOut([k], !model.cut.has(k));
      onChange(`${graph.gradients[k].name} ${model.cut.has(k) ? "left out" : "put back"}`);
    };
    const follow = (k) => {
      model.follow(k);
      onChange(`${graph.gradients[k].name} followed alone`);
    };
    return element(
      "p",
      {},
      `Leave a path to ${graph.nodes[of].name} out:`,
      ...parts.flatMap((k) => [
        element(
          "button",
          {
            "data-key": `path ${k}`,
            "aria-pressed": String(!model.cut.has(k)),
            onclick: () => toggle(k),
          },
          `${graph.gradients[k].name}${through(graph, k)}`,
        ),
        element(
          "button",
          {
            class: "only",
            "data-key": `only ${k}`,
            "aria-label": `${graph.gradients[k].name} alone`,
            onclick: () => follow(k),
          },
          "alone",
        ),
      ]),
    );
  });
}

/** Say which step a part comes through, and which operand it belongs to where there are several. */
function through(graph, k) {
  const { of, step, consumer, operand } = graph.gradients[k];
  const name = graph.forward.find((stop) => stop.step === step)?.lines[0].name;
  const { inputs } = graph.nodes[consumer] ?? { inputs: [] };
  const twice = inputs.filter((x) => x === of).length > 1;
  return name ? ` through ${name}${twice ? `, operand ${operand + 1}` : ""}` : "";
}

/** Say by how much what is left out makes the gradients of inputs wrong. */
export function errorText(model) {
  const { gradients } = model.graph;
  const named = [...model.cut].map((k) => gradients[k].name).join(", ");
  const wrong = wanted(model).flatMap(({ name, node }) => {
    const { entries, most } = model.error(node);
    return entries.length ? [`${name} is off by up to ${short(most)}`] : [];
  });
  return `Without ${named}: ${wrong.join("; ") || "no gradient that is asked for changes"}.`;
}

/** Say which entries of what is asked for have changed with the last edit. */
export function changeText(model) {
  const { graph } = model;
  const said = [
    ...graph.graph.outputs.map((index) => ({ name: graph.nodes[index].name, node: index })),
    ...wanted(model),
  ].flatMap(({ name, node }) => {
    const changed = model.changedLast(node);
    return changed.length ? [`${name}${placesText(graph.nodes[node].shape, changed)}`] : [];
  });
  return said.length
    ? `changed with it: ${said.join("; ")}.`
    : "no output and no gradient of an input changed with it.";
}

/** The gradients of inputs, as a whole. */
function wanted({ graph }) {
  return graph.gradients.filter(
    ({ of, kind, name }) =>
      name && (kind === "whole" || kind === "sum") && graph.nodes[of].role === "input",
  );
}
