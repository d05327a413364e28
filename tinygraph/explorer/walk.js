/*
 * The walk: forward from the inputs to the last step, then back to the inputs. Its rail has two rows
 * that mirror the picture, forward above and backward below, and a column to each step.
 */

import { byId, element } from "./words.js";

const WIDEST = 15; // columns; more are folded by the calls that they stand in, and shown around now
const [BURST, PAUSE] = [60, 200]; // changes of the address at once, and ms for each that follows

export class Walk {
  /** @param steps their names and scopes, inputs first; `back` has names of gradients, or is empty. */
  constructor(steps, back, wrong, show) {
    Object.assign(this, { steps, back, wrong, show });
    const forward = steps.map((_, step) => ({ isBack: false, step }));
    const backward = back
      .map((names, step) => names.length && { isBack: true, step })
      .filter(Boolean)
      .reverse();
    this.stops = [...forward, ...backward];
    this.at = 0;
    [this.spare, this.last] = [BURST, 0];
  }

  get stop() {
    return this.stops[this.at];
  }

  find(isBack, step) {
    return this.stops.findIndex((stop) => stop.isBack === isBack && stop.step === step);
  }

  go(at) {
    if (!this.stops[at]) return;
    this.at = at;
    this._address();
    this.show();
  }

  /** Put the stop into the address: at once, but not as often as makes browsers refuse it. */
  _address() {
    clearTimeout(this.later);
    const now = performance.now();
    this.spare = Math.min(this.spare + (now - this.last) / PAUSE, BURST);
    this.last = now;
    if (this.spare < 1) {
      this.later = setTimeout(() => this._address(), PAUSE);
      return;
    }
    this.spare -= 1;
    const link = `#${this.stop.isBack ? "backward" : "forward"}-${this.stop.step}`;
    try {
      if (location.hash !== link) history.replaceState(null, "", link);
    } catch {
      // a frame without an address of its own has no links
    }
  }

  follow(link) {
    const found = /^#(forward|backward)-(\d+)$/.exec(link);
    const at = found ? this.find(found[1] === "backward", Number(found[2])) : -1;
    if (at >= 0) this.at = at;
    return at >= 0;
  }

  /** The columns of the rail: steps by their numbers, several where they are folded. */
  columns() {
    const all = this.steps.map((_, step) => step);
    const columns = this._folded(all, 0);
    if (columns.length <= WIDEST) return columns;
    const here = columns.findIndex((column) => column.includes(this.stop.step));
    const from = Math.min(Math.max(here - (WIDEST >> 1), 0), columns.length - WIDEST);
    return columns.slice(from, from + WIDEST);
  }

  _folded(steps, depth) {
    if (steps.length <= WIDEST) return steps.map((step) => [step]);
    const runs = [];
    for (const step of steps) {
      const call = this.steps[step].scope[depth];
      if (call !== undefined && runs.at(-1)?.call === call) runs.at(-1).steps.push(step);
      else runs.push({ call, steps: [step] });
    }
    return runs.flatMap((run) => {
      if (run.call === undefined || run.steps.length === 1) return [run.steps];
      return run.steps.includes(this.stop.step) ? this._folded(run.steps, depth + 1) : [run.steps];
    });
  }

  draw() {
    const rail = byId("rail");
    const columns = this.columns();
    const narrow = `repeat(${columns.length}, minmax(0, 160px))`;
    rail.style.gridTemplateColumns = innerWidth > 640 ? `4.6em ${narrow}` : narrow;
    const isFocused = rail.contains(document.activeElement);
    const rows = [[false, "forward", this.steps.map((step) => [step.name])]];
    if (this.back.length) rows.push([true, "backward", this.back]);
    rail.replaceChildren(
      ...rows.flatMap(([isBack, title, names]) => [
        element("span", { class: isBack ? "title back" : "title" }, title),
        ...columns.map((column) => this._button(column, isBack, title, names)),
      ]),
    );
    if (isFocused) rail.querySelector("[aria-current]").focus({ preventScroll: true });
  }

  _button(column, isBack, title, names) {
    const step = (isBack ? column.toReversed() : column).find((k) => this.find(isBack, k) >= 0);
    const isFolded = column.length > 1;
    const at = this.find(isBack, step);
    if (at < 0) return element("span");
    const said = isFolded ? this._call(column) : names[step].join(", ");
    const number = isFolded ? `${column[0]}–${column.at(-1)}` : String(step);
    const isWrong = isBack && column.some((k) => this.wrong.has(k));
    const classes = [
      isBack && "back",
      at < this.at && "done",
      isFolded && "fold",
      isWrong && "wrong",
    ]
      .filter(Boolean)
      .join(" ");
    return element(
      "button",
      {
        class: classes,
        title: said,
        "aria-label": `${title} step ${number}: ${said}${isWrong ? ", wrong in your code" : ""}`,
        "aria-current": at === this.at && !isFolded ? "step" : undefined,
        onclick: () => this.go(at),
      },
      element("b", {}, number),
      element("em", {}, said),
    );
  }

  /** The call that a column is folded into: the outermost one that is not under way. */
  _call([step]) {
    const here = this.steps[this.stop.step].scope;
    return this.steps[step].scope.find((call, k) => call !== here[k]) ?? "";
  }

  /** The stop of the other direction that is nearest. */
  _across(isBack, step) {
    const distance = (stop) => (stop.isBack === isBack ? Math.abs(stop.step - step) : Infinity);
    const nearest = this.stops.reduce((a, b) => (distance(b) < distance(a) ? b : a));
    return nearest.isBack === isBack ? this.stops.indexOf(nearest) : -1;
  }

  /** What a key does, if anything. */
  key(key) {
    const { isBack, step } = this.stop;
    const moves = {
      ArrowRight: this.at + 1,
      ArrowLeft: this.at - 1,
      Home: 0,
      End: this.stops.length - 1,
      b: this._across(!isBack, step),
    };
    if (!(key in moves)) return false;
    this.go(moves[key]);
    return true;
  }
}
