/*
 * What `check` has said of a backward pass of one's own: at its lines, and where they belong.
 */

import { element } from "./words.js";

/** Say where a report belongs: wrong gradients, the steps that give them, what to say there. */
export function reportOf(report, graph) {
  const stepOf = (name) => graph.gradients.find((g) => g.name === name)?.step;
  const wrong = new Set(
    report.lines.filter((line) => line.mark === "✗").map((line) => line.gradient),
  );
  const steps = new Set([...wrong].map(stepOf));
  const at = ({ isBack, step }) => {
    if (!isBack) return [];
    const here = report.lines.filter(
      (line) => line.gradient && line.mark !== "✓" && stepOf(line.gradient) === step,
    );
    return here.map((line) => {
      const isFirst = line.number === report.first;
      const why =
        line.mark === "·"
          ? "follows from an earlier line"
          : isFirst && report.cause
            ? `likely cause: ${report.cause}`
            : "";
      const source = `\`${line.source.trim()}\``;
      const said = `${line.mark} your line ${line.number}: ${source}${why && `, ${why}`}`;
      return element("p", { class: line.mark === "✗" ? "off" : "" }, ...withCode(said));
    });
  };
  return { ...report, steps, wrong, at, stepOf };
}

/** Text as elements, in which code stands between backquotes. */
const withCode = (text) =>
  text.split("`").map((part, k) => (k % 2 ? element("code", {}, part) : part));

/** Show the lines of the code, each with its mark, and a way to its step. */
export function reportLines(report, walk, section) {
  if (section.childElementCount) return;
  const rows = report.lines.map(({ number, source, gradient, mark }) => {
    const text = `${mark || " "} ${String(number).padStart(4)}  ${source}`;
    const at = gradient ? walk.find(true, report.stepOf(gradient)) : -1;
    const link = at >= 0 && element("button", { onclick: () => walk.go(at) }, gradient);
    return element("li", { class: mark === "✗" ? "wrong" : "" }, text, link && "   ", link);
  });
  const verdict = `Your backward pass, ${report.called}: ${report.passed ? "right" : "WRONG"}`;
  section.replaceChildren(
    element(
      "details",
      { open: true },
      element("summary", {}, verdict),
      element("ol", {}, ...rows),
      ...report.gradients.map((text) => element("p", {}, text)),
    ),
  );
}
