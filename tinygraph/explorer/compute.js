/*
 * The graph of a page, computed: the values of all nodes from those of its inputs.
 *
 *     const graph = read(payload);
 *     graph.start.values[index].data;                         // as it was recorded
 *     const run = compute(graph, { given: new Map([[0, x]]), cut: new Set([5]) });
 *
 * `given` has arrays for inputs that are to be others, by index. `cut` has the paths that are left
 * out: positions in `graph.gradients`, of terms of sums. With `before`, another run, only what
 * depends on a change is computed again; and what comes out the same is the same object, so that
 * two runs differ at node k if `a.values[k] !== b.values[k]`.
 */

/** Read a payload: nodes with their parameters, the arrays of inputs and constants. */
function read(payload) {
  const { nodes, gradients } = payload.graph;
  const leaves = new Map();
  for (const { index, op, value } of nodes)
    if (op === null && value !== null) leaves.set(index, leaf(decoded(value)));
  for (const index in payload.values) leaves.set(Number(index), readArray(payload.values[index]));
  const shown = payload.shown.map(([op, inputs, shape, params, own]) => ({
    op,
    inputs,
    shape,
    own,
    ...withParams({ params }),
  }));
  const graph = { ...payload, leaves, gradients, shown, nodes: nodes.map(withParams) };
  graph.start = compute(graph);
  return graph;
}

const leaf = (x) => (typeof x === "object" ? x : array([], null, Float64Array.of(x)));

function withParams(node) {
  const dtype = node.dtype?.slice(1) ?? null;
  const params = {};
  for (const name in node.params) params[name] = decoded(node.params[name]);
  if (dtype === "f4" && node.op === "pow") params.n = Math.fround(params.n);
  return { ...node, dtype, params };
}

/** Give a copy of an array with another entry. */
function edited(x, place, number) {
  const data = x.data.slice();
  data[place] = rounding(x.dtype)(number);
  return array(x.shape, x.dtype, data);
}

/**
 * Compute all nodes.
 * @throws {Unfit} if one cannot be computed from these inputs, which the message says
 */
function compute(graph, { given = new Map(), cut = new Set(), before = graph.start } = {}) {
  const left = leftOut(graph, cut);
  const values = [];
  for (const { index, op, inputs } of graph.nodes) {
    const isUnchanged = (run) =>
      left.get(index) === run.left.get(index) && inputs.every((k) => values[k] === run.values[k]);
    let value = graph.leaves.get(index);
    if (op === null) value = given.get(index) ?? value;
    else if (value && graph.start && !isUnchanged(graph.start)) throw new Unfit(graph.fixed[index]);
    else if (before && isUnchanged(before)) value = before.values[index];
    else
      value ??= evaluate(
        graph.nodes[index],
        inputs.map((k) => values[k]),
        left.get(index),
      );
    const known = [before, graph.start].map((run) => run?.values[index]);
    values.push(known.find((one) => one === value || (one && isSame(one, value))) ?? value);
  }
  return { values, left, cut };
}

function evaluate(node, operands, left) {
  try {
    if (!left) return computed(node, narrowed(operands));
    const kept = operands.find((_, k) => !left.includes(k)) ?? zeros(node);
    return computed({ ...node, op: "stop" }, [kept]);
  } catch (error) {
    if (error instanceof Unfit) error.message = `step ${node.step}: ${node.op}: ${error.message}`;
    throw error;
  }
}

/** A Python number takes the precision of the arrays that it meets. */
function narrowed(operands) {
  const floats = operands.map((x) => x.dtype).filter((dtype) => dtype?.[0] === "f");
  const round = rounding(floats.sort().at(-1));
  return operands.map((x) => (x.dtype === null ? { ...x, data: x.data.map(round) } : x));
}

// -------------------------------------------------------------------------- paths that are left out

/**
 * Give the operands that are left out of the additions that make up sums of gradients, by node, as
 * text. A sum of n terms is n − 1 additions, ((t0 + t1) + t2) + …: term k is the second operand of
 * the k-th one, and t0 the first of the first. By term, because both parts of x + x are one node.
 */
function leftOut(graph, cut) {
  const left = new Map();
  for (const k of [...cut].sort((a, b) => a - b)) {
    const { of, term } = graph.gradients[k];
    const node = additions(graph, of)[Math.max(term - 1, 0)];
    left.set(node, (left.get(node) ?? "") + Math.min(term, 1));
  }
  return left;
}

/** The additions that make up the gradient of a node, the first one first. */
function additions(graph, of) {
  const terms = paths(graph).get(of);
  const total = graph.gradients.find((g) => g.of === of && g.kind === "sum");
  const nodes = [total.node];
  while (nodes.length < terms.length - 1) nodes.unshift(graph.nodes[nodes[0]].inputs[0]);
  return nodes;
}

/** The gradients that can be left out, by the node whose gradient is a sum of them. */
function paths({ gradients }) {
  const sums = gradients.filter(({ kind }) => kind === "sum").map(({ of }) => [of, []]);
  const terms = new Map(sums);
  gradients.forEach(({ of, kind }, k) => kind !== "sum" && terms.get(of)?.push(k));
  return terms;
}

/** What to leave out to follow one path alone: the other terms of its sum. */
function others(graph, k) {
  return paths(graph)
    .get(graph.gradients[k].of)
    .filter((other) => other !== k);
}

// ------------------------------------------------------------------------------------------ changes

function isSame({ data }, { data: other }) {
  for (let k = 0; k < data.length; k++) if (!Object.is(data[k], other[k])) return false;
  return true;
}

/** Which entries of two arrays differ, and by how much at most. */
function difference(a, b) {
  const differs = (k) => a.data[k] !== b.data[k] && !Object.is(a.data[k], b.data[k]);
  const entries = a === b ? [] : [...a.data.keys()].filter(differs);
  const most = entries.reduce((m, k) => Math.max(m, abs(a.data[k] - b.data[k])), 0);
  return { entries, most };
}

/**
 * What the recorded code was told that is not so any more: those of `graph.asked`. Where the code
 * asked `if x > 0`, the graph holds only as long as the answer stays.
 */
function broken(graph, { values }) {
  const entries = (x) => Array.from(x?.data ?? [x], Number);
  const value = (form) => {
    if (form?.node !== undefined) return entries(values[form.node]);
    if (!Array.isArray(form)) return entries(decoded(form));
    const [op, ...args] = form;
    return [Number(ENTRYWISE[op](...args.map((arg) => value(arg)[0])))];
  };
  const isOther = (now, then) => now.some((v, k) => v !== then[k] && !Object.is(v, then[k]));
  return graph.asked.filter(({ formula, answer }) => isOther(value(formula), value(answer)));
}
