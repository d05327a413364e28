/*
 * The picture as the map: what is computed now is filled, what is still to come is faint, and the
 * gradients that have travelled stay red. Only what changes is touched.
 */

import { byId } from "./words.js";

const LEAST = 0.85; // of its natural size, at which its letters are 11 px high
const STATES = ["past", "now", "later"];

export class Picture {
  constructor(graph, wrong, onStep) {
    Object.assign(this, { graph, wrong, onStep, stage: byId("stage"), hidden: [] });
    const template = byId("primitives");
    if (template.content.firstElementChild) this.hidden = [template.content.firstElementChild];
    this.parts = this._parts();
  }

  /** Show steps in place of primitives, or the other way round: one of them is in the page. */
  swap() {
    const shown = this.stage.firstElementChild;
    this.stage.replaceChildren(...this.hidden);
    this.hidden = [shown];
    this.parts = this._parts();
    this.fit();
  }

  _parts() {
    return Array.from(this.stage.querySelectorAll("g.node, g.edge"), (group) => {
      const { gradient, steps, node } = group.dataset;
      const [, prefix, index] = /^([a-z]*)(\d+)/.exec(group.id) ?? [];
      const [kind] = group.classList;
      const part = { group, kind, state: "", live: group.querySelector("[data-live]") };
      if (gradient !== undefined) {
        part.gradient = Number(gradient);
        const { step, name } = this.graph.gradients[part.gradient];
        part.steps = [step];
        if (this.wrong.has(name)) this._flag(group);
      } else if (kind === "edge") {
        part.node = Number(node);
        part.steps = [Number(/step(\d+)/.exec(group.classList.value)[1])];
      } else {
        part.node = Number(index);
        part.steps = steps ? steps.split(" ").map(Number) : [this.graph.nodes[index].step];
        part.isOutput = prefix === "out";
      }
      group.addEventListener("click", () => this.onStep(part));
      return part;
    });
  }

  /** Mark a gradient that is wrong in somebody's code. */
  _flag(group) {
    const label = group.querySelector("text");
    if (label && !group.classList.contains("wrong")) label.textContent = `✗ ${label.textContent}`;
    group.classList.add("wrong");
  }

  /** @param live what to write into the box of a node, where all nodes are single numbers */
  paint({ isBack, step }, cut, live) {
    this.stage.classList.toggle("backward", isBack);
    for (const part of this.parts) {
      const { classList } = part.group;
      const state = this._state(part, isBack, step);
      if (state !== part.state) {
        classList.remove(...STATES);
        classList.add(state);
        part.state = state;
      }
      if (part.live) part.live.textContent = live(part.node, isBack, step);
      if (part.kind === "node") classList.toggle("reached", isBack && step <= part.steps.at(-1));
      if (part.gradient !== undefined) classList.toggle("cut", cut.has(part.gradient));
    }
    this._scroll();
  }

  _state({ kind, gradient, steps, node, isOutput }, isBack, step) {
    const [first, last] = [steps[0], steps.at(-1)];
    if (gradient !== undefined) {
      if (!isBack) return "later";
      if (step === 0) return this._isAddedUp(this.graph.gradients[gradient].of) ? "now" : "past";
      return first === step ? "now" : first > step ? "past" : "later";
    }
    if (kind === "edge") return isBack || last < step ? "past" : last === step ? "now" : "later";
    if (step === 0)
      return last === 0 && (!isBack || this._isAddedUp(node))
        ? "now"
        : isBack || last === 0
          ? "past"
          : "later";
    if (steps.includes(step) && !isOutput) return "now";
    return isBack || first <= step ? "past" : "later";
  }

  /** Whether several gradients of an input are added up, which step 0 does. */
  _isAddedUp(index) {
    return this.graph.gradients.some((g) => g.of === index && g.kind === "sum" && g.step === 0);
  }

  fit() {
    const [svg] = this.stage.children;
    if (!svg) return;
    const natural = svg.viewBox.baseVal.width;
    const room = this.stage.clientWidth - 2 * parseFloat(getComputedStyle(this.stage).paddingLeft);
    const least = natural * LEAST;
    svg.style.width = `${Math.round(Math.max(least, Math.min(room, natural)))}px`;
  }

  _scroll() {
    const { stage } = this;
    const now = this.parts.find((part) => part.kind === "node" && part.state === "now");
    if (
      !now ||
      (stage.scrollWidth <= stage.clientWidth && stage.scrollHeight <= stage.clientHeight)
    )
      return;
    const [box, view] = [now.group.getBoundingClientRect(), stage.getBoundingClientRect()];
    const left = box.left + box.width / 2 - view.left - view.width / 2;
    const top = box.top + box.height / 2 - view.top - view.height / 2;
    const isFar = Math.abs(left) > view.width || Math.abs(top) > view.height;
    const isStill = isFar || matchMedia("(prefers-reduced-motion: reduce)").matches;
    stage.scrollBy({ left, top, behavior: isStill ? "auto" : "smooth" });
  }

  /** Point at what a name stands for: the strokes of a value or a gradient, the box of an input. */
  point(name, index, isOn) {
    for (const { group, kind, gradient, node } of this.parts) {
      const isHit =
        gradient !== undefined
          ? this.graph.gradients[gradient].name === name
          : node === index && (kind === "edge" || this.graph.nodes[index].op === null);
      if (isHit) group.classList.toggle("point", isOn);
    }
  }
}
