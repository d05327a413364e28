/*
 * The graph of the page, computed: all values of its nodes from those of its inputs.
 *
 *     const graph = read(payload);
 *     const run = compute(graph);                             // run.values[index].data
 *     const next = compute(graph, { given: new Map([[0, x]]), cut: new Set([5]), before: run });
 *
 * `given` has arrays for inputs that are to be others, by index. `cut` has the paths that are left
 * out: positions in `graph.gradients`, of those that are a term of a sum. With `before`, only what
 * depends on a change is computed, and what comes out the same is the same object: two runs differ
 * at a node if and only if `a.values[k] !== b.values[k]`.
 */

/** Read a payload: nodes with their parameters, the arrays of the inputs and constants. */
function read(payload) {
  const { nodes, gradients } = payload.graph;
  const kind = (dtype) => dtype && dtype.slice(1);
  const leaves = new Map();
  for (const { index, op, value } of nodes)
    if (op === null && value !== null) leaves.set(index, leaf(decoded(value)));
  for (const [index, form] of Object.entries(payload.values)) leaves.set(Number(index), readArray(form));
  const graph = {
    ...payload,
    leaves,
    gradients,
    nodes: nodes.map((node) => {
      const params = Object.fromEntries(
        Object.entries(node.params).map(([name, form]) => [name, decoded(form)]),
      );
      if (node.dtype?.slice(1) === "f4" && params.n) params.n = Math.fround(params.n);
      return { ...node, dtype: kind(node.dtype), params };
    }),
  };
  graph.start = compute(graph);
  return graph;
}

const leaf = (x) => (typeof x === "number" ? array([], null, Float64Array.of(x)) : x);

/** Give a copy of an array with another entry. */
function edited(x, place, number) {
  const data = x.data.slice();
  data[place] = rounding(x.dtype)(number);
  return array(x.shape, x.dtype, data);
}

/**
 * Compute all nodes.
 * @throws {Unfit} if a node cannot be computed for these inputs, which its message says.
 */
function compute(graph, { given = new Map(), cut = new Set(), before = graph.start } = {}) {
  const left = leftOut(graph, cut);
  const values = [];
  for (const node of graph.nodes) {
    const { index, op, inputs } = node;
    const isUnchanged = (run) =>
      run && left.get(index) === run.left.get(index) && inputs.every((k) => values[k] === run.values[k]);
    const known = [graph.start, before].map((run) => run?.values[index]);
    let value;
    if (op === null) value = given.get(index) ?? graph.leaves.get(index);
    else if (graph.leaves.has(index)) {
      if (graph.start && !isUnchanged(graph.start)) throw new Unfit(graph.fixed[index]);
      value = graph.leaves.get(index);
    } else if (isUnchanged(before)) value = before.values[index];
    else value = evaluate(node, inputs.map((k) => values[k]), left.get(index));
    values.push(known.find((one) => one && isSame(one, value)) ?? value);
  }
  return { values, left };
}

function evaluate(node, operands, left) {
  try {
    if (left) return remaining(node, operands, left);
    return computed(node, narrowed(operands));
  } catch (error) {
    if (error instanceof Unfit) error.message = `step ${node.step}: ${node.name ?? node.op}: ${error.message}`;
    throw error;
  }
}

/** A Python number takes the precision of the arrays that it meets. */
function narrowed(operands) {
  const floats = operands.map((x) => x.dtype).filter((dtype) => dtype?.[0] === "f");
  const round = rounding(floats.sort().at(-1));
  return operands.map((x) => (x.dtype === null ? { ...x, data: x.data.map(round) } : x));
}

// --------------------------------------------------------------------------- paths that are left out

/**
 * Give the operands that are left out of the additions that make up sums of gradients, by node.
 * A sum of n terms is n − 1 additions, ((t0 + t1) + t2) + …: term k is the second operand of the
 * k-th, and t0 the first of the first. By term and not by node: both parts of x + x are one node.
 */
function leftOut(graph, cut) {
  const left = new Map();
  for (const k of cut) {
    const { of, term } = graph.gradients[k];
    const node = additions(graph, of)[Math.max(term - 1, 0)];
    left.set(node, [...(left.get(node) ?? ""), Math.min(term, 1)].sort().join(""));
  }
  return left;
}

/** The additions of a sum of gradients, the first one first. */
function additions(graph, of) {
  const arriving = graph.gradients.filter((g) => g.of === of);
  const total = arriving.find((g) => g.kind === "sum");
  const nodes = [];
  for (let k = arriving.length - 1, at = total.node; k > 1; k--) {
    nodes.unshift(at);
    at = graph.nodes[at].inputs[0];
  }
  return nodes;
}

/** The gradients that can be left out, by what they are gradients of: terms of a sum of several. */
function paths(graph) {
  const several = new Map();
  graph.gradients.forEach(({ of, kind }) => kind === "sum" && several.set(of, []));
  graph.gradients.forEach(({ of, kind }, k) => kind !== "sum" && several.get(of)?.push(k));
  return several;
}

/** What to leave out to follow one path alone: the other terms of its sum. */
function others(graph, k) {
  return paths(graph).get(graph.gradients[k].of).filter((other) => other !== k);
}

function remaining(node, operands, left) {
  const kept = operands.filter((_, k) => !left.includes(k));
  if (!kept.length) return zeros(node);
  return rounded(node.shape, node.dtype, Float64Array.from({ length: size(node.shape) }, (_, k) => reader(kept[0], node.shape)(k)));
}

// --------------------------------------------------------------------------------------- changes

const isLike = (a, b) => Object.is(a, b) || a === b;
const isSame = (a, b) => a === b || a.data.every((v, k) => Object.is(v, b.data[k]));

/** Which entries of two arrays differ, and by how much at most. */
function difference(a, b) {
  const entries = a === b ? [] : [...a.data.keys()].filter((k) => !isLike(a.data[k], b.data[k]));
  return { entries, most: entries.reduce((m, k) => Math.max(m, Math.abs(a.data[k] - b.data[k])), 0) };
}

// --------------------------------------------------------------------------------------- premises

const FORMULAS = {
  "+": (a, b) => a + b,
  "-": (a, b) => a - b,
  "*": (a, b) => a * b,
  "/": (a, b) => a / b,
  "//": (a, b) => quotient(a, b),
  "%": (a, b) => remainder(a, b),
  "**": (a, b) => power(a, b),
  neg: (a) => -a,
  abs: (a) => Math.abs(a),
  sqrt: (a) => Math.sqrt(a),
  "==": (a, b) => a === b,
  "!=": (a, b) => a !== b,
  "<": (a, b) => a < b,
  "<=": (a, b) => a <= b,
  ">": (a, b) => a > b,
  ">=": (a, b) => a >= b,
  truth: (a) => Boolean(a),
};

/**
 * What the recorded code was told that is not so any more: those of `graph.asked`. Where the code
 * asked `if x > 0`, the graph holds only as long as the answer stays.
 */
function broken(graph, run) {
  const value = (form) => {
    if (!form?.formula) return decoded(form);
    const [op, ...args] = form.formula;
    if (op === "length") return graph.nodes[args[0]].shape[args[1]];
    if (op === "value") return run.values[args[0]];
    return FORMULAS[op](...args.map((arg) => entries(value(arg))[0]));
  };
  const entries = (x) => Array.from(x?.data ?? [x], Number);
  return graph.asked.filter(({ formula, answer }) => {
    const then = entries(decoded(answer));
    return entries(value(formula)).some((now, k) => !isLike(now, then[k]));
  });
}
