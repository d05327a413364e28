/*
 * One entry of a value, written out with the numbers that it is computed of, as its equation says:
 *
 *     divar[0] = 0.1506 · 1.2 − 0.02212 · 0.4 + … 5 more
 *
 * What has a name is a number, and knows where it is from: {node, entry, text}. What has none is
 * written out in its place, and all else is text.
 */

/** Which entries of the operands an entry is computed of: {operand, entry}; null for all of them. */
function sources(graph, { values }, index, entry) {
  const node = graph.nodes[index];
  return sourcesOf(
    node,
    node.inputs.map((k) => values[k]),
    entry,
  );
}

function sourcesOf(node, operands, entry) {
  const { op, shape, params } = node;
  const from = (operand) => (place) => ({ operand, entry: place });
  if (ENTRYWISE[op] ?? op === "sigmoid")
    return operands.map((x, k) => from(k)(met(x.shape, shape, entry)));
  if (REDUCING.includes(op))
    return found(targets(operands[0].shape, params.axis), entry).map(from(0));
  if (op === "matmul") return paired(node, operands, entry);
  if (op === "scatter" || op === "put") {
    const key = op === "put" ? filled(node, operands.slice(1)) : params.key;
    return found(picked(key, shape).places, entry).map(from(0));
  }
  if (op === "assign_add") {
    const added = writes(node, operands.slice(1)).map(([key, value], k) => {
      const into = picked(key, shape);
      const read = (place) => met(value.shape, into.shape, place);
      return found(into.places, entry)
        .map(read)
        .map(from(k + 1));
    });
    return [from(0)(entry), ...added.flat()];
  }
  return MOVING.includes(op) ? [moved(node, operands, entry)] : null;
}

const ADDING = ["sum", "scatter", "put", "assign_add"];
const REDUCING = ["sum", "prod", "max", "all", "any"];
const PLAIN = [...REDUCING, ...ADDING, "cast", "stop"]; // of one operand that operand
const MOVING = [
  "spread",
  "reshape",
  "transpose",
  "index",
  "pick",
  "select",
  "concatenate",
  "assign",
];
const found = (places, entry) => [...places.keys()].filter((k) => places[k] === entry);

/** The place in an array of its `own` shape that is broadcast to a place in `shape`. */
function met(own, shape, place) {
  const steps = stretched(own, shape);
  const indices = strides(shape).map((step, k) => Math.floor(place / step) % shape[k]);
  return indices.reduce((sum, index, k) => sum + index * steps[k], 0);
}

/** Find an entry that was only moved: the row itself moves the numbers of the places. */
function moved(node, operands, entry) {
  const { keys = operands } = node.params;
  const last = ["pick", "select"].includes(node.op) ? 0 : keys.length; // of what is moved
  const starts = [0];
  const numbered = operands.map((x, k) => {
    if (k > last) return x;
    starts.push(starts[k] + size(x.shape));
    return array(x.shape, "f8", range(size(x.shape), 1, starts[k]));
  });
  const op = node.op === "select" ? "index" : node.op;
  const place = WHOLE[op]({ ...node, dtype: "f8" }, ...numbered).data[entry];
  const operand = starts.findIndex((end) => place < end) - 1;
  return { operand, entry: place - starts[operand] };
}

/** Pairs of factors, one after the other; a vector is a matrix of one row or column. */
function paired(node, [{ shape: a }, { shape: b }], entry) {
  const column = b.length === 1 ? [1] : [];
  const row = a.length === 1 ? [1] : [];
  const shape = [...node.shape, ...column].toSpliced(-1, 0, ...row);
  const [left, right] = [
    [...row, ...a],
    [...b, ...column],
  ];
  const [m, n] = shape.slice(-2);
  const stack = Math.floor(entry / (m * n));
  const start = (own) => matrixStarts({ shape: own }, shape.slice(0, -2))[stack];
  const [i, j] = [Math.floor(entry / n) % m, entry % n];
  return Array.from(range(left.at(-1)), (k) => [
    { operand: 0, entry: start(left) + i * left.at(-1) + k },
    { operand: 1, entry: start(right) + k * n + j },
  ]).flat();
}

// ---------------------------------------------------------------------------------- written out

const [SUM, PRODUCT, POWER, CALL] = [1, 2, 3, 4];
/** How tightly what is written binds, how tightly its operands must, and what stands around them. */
const SIGNS = {
  add: [SUM, [SUM, SUM], "", " + "],
  sub: [SUM, [SUM, PRODUCT], "", " − "],
  mul: [PRODUCT, [PRODUCT, PRODUCT], "", " · "],
  div: [PRODUCT, [PRODUCT, POWER], "", " / "],
  neg: [PRODUCT, [PRODUCT], "−"],
  inverse: [PRODUCT, [POWER], "1 / "],
  square: [POWER, [CALL], "", "²"],
  sqrt: [CALL, [CALL], "√"],
  sigmoid: [CALL, [SUM], "σ(", ")"],
};
const DEEPEST = 5;
const MOST_TERMS = [8, 3]; // outside, and inside of another sum

const textOf = (part) => part.text ?? part;

/** a + −b is a − b. */
function following(sign, [first, ...rest]) {
  const text = textOf(first);
  if (sign !== " + " || !text.startsWith("−")) return [sign, first, ...rest];
  return [" − ", first.text ? { ...first, text: text.slice(1) } : text.slice(1), ...rest];
}

/** Put in brackets what binds less than is needed, and a minus that does not come first. */
function bracketed({ binds, parts }, need, isFirst = false) {
  const isSigned = textOf(parts[0]).startsWith("−") && need > (isFirst ? PRODUCT : SUM);
  return binds < need || isSigned ? ["(", ...parts, ")"] : parts;
}

/** Of many terms, the first ones, of which one may take several. */
function shownOf(terms, most, each = 1) {
  return terms.length > (most + 1) * each ? terms.slice(0, most * each) : terms;
}

/** Write terms one after the other, and how many there are besides. */
function listed(terms, sign, more) {
  const parts = terms.flatMap((term, k) => (k ? following(sign, term) : term));
  return more ? [...parts, `${sign}… ${more} more`] : parts;
}

/** The line that gives a value, under a name if there are several. */
function lineOf({ forward, backward }, index, name) {
  const lines = [...forward, ...backward].flatMap((stop) => stop.lines);
  const giving = lines.filter((line) => line.node === index);
  return giving.find((line) => line.name === name) ?? giving[0];
}

/**
 * Write out an entry, as the line does that gives it.
 * @param number writes a number, with "−" for a minus
 * @param name of the value, where a node has several
 * @returns texts and numbers in turn
 */
function plugged(graph, run, index, entry, number, name) {
  const { nodes, shown, gradients } = graph;
  const row = (k) => nodes[k] ?? shown[k - nodes.length];
  const valueAt = (k) => run.values[k] ?? run.values[row(k).own] ?? row(k);
  const line = lineOf(graph, index, name);
  if (line?.terms.length) {
    const kept = line.terms.filter((k) => !run.cut.has(k));
    const terms = shownOf(kept, MOST_TERMS[0]).map((k) => leaf(gradients[k].node, entry).parts);
    return terms.length ? listed(terms, " + ", kept.length - terms.length) : ["0"];
  }
  if (line?.tree === null) return leaf(index, entry).parts;
  return expression(line?.tree ?? index, entry, 0).parts;

  function leaf(node, entry) {
    const { role, value, origin: from } = nodes[node];
    const isRatio = role === "constant" && from?.formula && value.fraction?.startsWith("1/");
    if (isRatio) return { binds: PRODUCT, parts: [value.fraction] };
    return { binds: CALL, parts: [{ node, entry, text: number(run.values[node].data[entry]) }] };
  }

  function expression(k, entry, depth) {
    const { op, inputs, params } = row(k);
    if (op === null && k >= nodes.length) return { binds: CALL, parts: [number(inputs)] };
    if (op === null || (depth && k < nodes.length)) return leaf(k, entry);
    const from = depth > DEEPEST ? null : sourcesOf(row(k), inputs.map(valueAt), entry);
    if (!from)
      return row(k).own == null ? { binds: CALL, parts: [`${op}(…)`] } : leaf(row(k).own, entry);
    const each = op === "matmul" ? 2 : 1;
    const kept = shownOf(from, MOST_TERMS[Math.min(depth, 1)], each);
    const operands = kept.map((one) => expression(inputs[one.operand], one.entry, depth + 1));
    if (op === "where") return operands[valueAt(inputs[0]).data?.[from[0].entry] ? 1 : 2];
    if (MOVING.includes(op)) return operands[0];
    return composed(op, operands, params, (from.length - kept.length) / each);
  }

  function composed(op, operands, params, more) {
    if (operands.length === 1 && PLAIN.includes(op)) return operands[0];
    const inBrackets = (need) => operands.map((x, k) => bracketed(x, need, k === 0));
    if (ADDING.includes(op)) return inOne(SUM, inBrackets(SUM), " + ");
    if (op === "prod") return inOne(PRODUCT, inBrackets(PRODUCT), " · ");
    if (op === "matmul") {
      const factors = operands.map((x, k) => bracketed(x, PRODUCT, k % 2 === 0));
      const isFirst = (_, k) => k % 2 === 0;
      return inOne(
        SUM,
        factors.filter(isFirst).map((x, k) => [...x, " · ", ...factors[2 * k + 1]]),
        " + ",
      );
    }
    if (op === "pow")
      return { binds: POWER, parts: [...inBrackets(CALL)[0], `^${number(params.n)}`] };
    if (SIGNS[op]) return signed(operands, ...SIGNS[op]);
    const name = op === "sinc" && params.n ? `sinc⁽${params.n}⁾` : op;
    const before = op === "relu" ? "max(0, " : `${name}(`;
    return { binds: CALL, parts: [before, ...listed(inBrackets(0), ", ", more), ")"] };

    function inOne(binds, terms, sign) {
      if (!terms.length) return { binds: CALL, parts: [op === "prod" ? "1" : "0"] };
      return { binds: terms.length > 1 ? binds : PRODUCT, parts: listed(terms, sign, more) };
    }
  }

  function signed(operands, binds, needs, before, sign = "") {
    const parts = operands.map((x, k) => bracketed(x, needs[k], k === 0 && needs.length === 2));
    const second = needs.length === 2 ? following(sign, parts[1]) : [sign];
    return { binds, parts: [before, ...parts[0], ...second].filter((part) => part) };
  }
}
