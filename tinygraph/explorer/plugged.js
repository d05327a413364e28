/*
 * One entry of one node, written out with the numbers that it is computed of:
 *
 *     divar[0] = 0.1506 · 1.2 − 0.02212 · 0.4 + … 5 more
 *
 * An expression is a list of texts and of numbers, {node, entry, text}, which say where they are
 * from. What has a name is a number; what has none is written out in its place.
 */

/** Which entries of the operands an entry is computed of: {operand, entry}; null for all of them. */
function sources(graph, run, index, entry) {
  const node = graph.nodes[index];
  const operands = node.inputs.map((k) => run.values[k]);
  const { params, shape, op } = node;
  if (ENTRYWISE[op])
    return operands.map((x, operand) => {
      const place = reader({ ...x, data: range(x.data.length) }, shape)(entry);
      return { operand, entry: place };
    });
  if (REDUCING.has(op)) return foundAt(targets(operands[0].shape, params.axis), entry, 0);
  if (op === "matmul") return paired(node, operands, entry);
  if (op === "scatter" || op === "put") {
    const key = op === "put" ? filled(node, operands.slice(1)) : params.key;
    return foundAt(picked(key, shape).places, entry, 0);
  }
  if (op === "assign_add")
    return [
      { operand: 0, entry },
      ...writes(node, operands.slice(1)).flatMap(([key, value], k) => {
        const into = picked(key, shape);
        const read = reader({ ...value, data: range(value.data.length) }, into.shape);
        return foundAt(into.places, entry, k + 1).map((one) => ({
          ...one,
          entry: read(one.entry),
        }));
      }),
    ];
  return MOVING.has(op) ? moved(node, operands, entry) : null;
}

const ADDING = new Set(["sum", "scatter", "put", "assign_add", "max", "prod"]);
const REDUCING = new Set(["sum", "prod", "max", "all", "any"]);
const MOVING = new Set("spread reshape transpose index pick select concatenate assign".split(" "));
const foundAt = (places, entry, operand) =>
  [...places.keys()].filter((k) => places[k] === entry).map((k) => ({ operand, entry: k }));

/** Find an entry that was only moved: the row itself moves the numbers of the places. */
function moved(node, operands, entry) {
  let start = 0;
  const isKey = (k) => k > 0 && ["pick", "select"].includes(node.op);
  const starts = [];
  const numbered = operands.map((x, k) => {
    if (isKey(k) || (node.op === "assign" && k > node.params.keys.length)) return x;
    starts[k] = start;
    start += x.data.length;
    return array(x.shape, "f8", range(x.data.length, 1, starts[k]));
  });
  const found = WHOLE[node.op]({ ...node, dtype: "f8" }, ...numbered).data[entry];
  const operand = starts.findLastIndex((first, k) => found >= first && operands[k].data.length);
  return [{ operand, entry: found - starts[operand] }];
}

function paired(node, [a, b], entry) {
  const [m, n] = node.shape.slice(-2);
  const inner = a.shape.at(-1);
  const outer = node.shape.slice(0, -2);
  const stack = Math.floor(entry / (m * n));
  const start = (x) =>
    walk(outer, stretched(x.shape.slice(0, -2), outer))[stack] * size(x.shape.slice(-2));
  const [i, j] = [Math.floor(entry / n) % m, entry % n];
  return Array.from({ length: inner }, (_, k) => [
    { operand: 0, entry: start(a) + i * inner + k },
    { operand: 1, entry: start(b) + k * n + j },
  ]).flat();
}

// ---------------------------------------------------------------------------------- written out

const textOf = (part) => part.text ?? part;
const [SUM, PRODUCT, POWER, CALL] = [1, 2, 3, 4];
const FEW = [8, 3];
/** How tightly what is written binds, how tightly its operands must, and how it is written. */
const SIGNS = {
  add: [SUM, [SUM, SUM], " + "],
  sub: [SUM, [SUM, PRODUCT], " − "],
  mul: [PRODUCT, [PRODUCT, PRODUCT], " · "],
  div: [PRODUCT, [PRODUCT, POWER], " / "],
  neg: [PRODUCT, [PRODUCT], "−", ""],
  inverse: [PRODUCT, [POWER], "1 / ", ""],
  square: [POWER, [CALL], "", "²"],
  sqrt: [CALL, [CALL], "√", ""],
};

/**
 * Write an entry out.
 * @param number writes a number, with "−" for a minus.
 * @returns texts and numbers in turn
 */
function plugged(graph, run, index, entry, number) {
  return expression(index, entry, 0).parts;

  function operand(index, entry, depth) {
    const { name, op } = graph.nodes[index];
    return name || op === null || depth > 6 ? leaf(index, entry) : expression(index, entry, depth);
  }

  function leaf(index, entry) {
    const text = number(run.values[index].data[entry]);
    return { binds: CALL, parts: [{ node: index, entry, text }] };
  }

  /** Put in brackets what binds less than is needed, and a minus that does not come first. */
  function bracketed({ binds, parts }, need, isFirst = false) {
    const isNegative = textOf(parts[0]).startsWith("−") && need > (isFirst ? PRODUCT : SUM);
    return binds < need || isNegative ? ["(", ...parts, ")"] : parts;
  }

  function expression(index, entry, depth) {
    const { op, inputs, params } = graph.nodes[index];
    const feeding = op === null ? null : sources(graph, run, index, entry);
    if (!feeding) return leaf(index, entry);
    const kept = feeding.filter((one) => !run.left.get(index)?.includes(one.operand));
    const plain = (one) => operand(inputs[one.operand], one.entry, depth + 1);
    const of = (one, need, isFirst) => bracketed(plain(one), need, isFirst);
    if (!kept.length) return { binds: CALL, parts: ["0"] };
    if (MOVING.has(op) || (kept.length === 1 && (ADDING.has(op) || kept.length < feeding.length)))
      return plain(kept[0]);
    if (ADDING.has(op) && op !== "prod" && op !== "max")
      return listed(
        kept.map((one) => of(one, SUM)),
        " + ",
        depth,
      );
    if (op === "prod")
      return {
        ...listed(
          kept.map((one) => of(one, PRODUCT)),
          " · ",
          depth,
        ),
        binds: PRODUCT,
      };
    if (op === "matmul") {
      const pairs = Array.from({ length: kept.length / 2 }, (_, k) => [
        ...of(kept[2 * k], PRODUCT, true),
        " · ",
        ...of(kept[2 * k + 1], PRODUCT),
      ]);
      return listed(pairs, " + ", depth);
    }
    if (op === "where") return plain(kept[run.values[inputs[0]].data[kept[0].entry] ? 1 : 2]);
    if (op === "pow")
      return { binds: POWER, parts: [...of(kept[0], CALL), `^${number(params.n)}`] };
    if (SIGNS[op]) return signed(op, kept, of);
    const inner = listed(
      kept.map((one) => of(one, 0)),
      ", ",
      depth,
    ).parts;
    return { binds: CALL, parts: [`${op}(`, ...inner, ")"] };
  }

  function signed(op, kept, of) {
    const [binds, needs, sign, after] = SIGNS[op];
    const parts = kept.map((one, k) => of(one, needs[k], k === 0 && after === undefined));
    if (after !== undefined) return { binds, parts: [sign, ...parts[0], after] };
    return { ...listed(parts, sign, 0), binds };
  }

  function listed(terms, sign, depth) {
    const most = FEW[Math.min(depth, 1)];
    const shown = terms.length > most + 1 ? terms.slice(0, most) : terms;
    const parts = shown.flatMap((term, k) => (k ? joined(sign, term) : term));
    const more = terms.length - shown.length;
    return { binds: SUM, parts: more ? [...parts, `${sign}… ${more} more`] : parts };
  }

  /** a + −b is a − b. */
  function joined(sign, [first, ...rest]) {
    const text = textOf(first);
    if (sign !== " + " || !text.startsWith("−")) return [sign, first, ...rest];
    const positive = text.slice(1);
    return [" − ", first.text ? { ...first, text: positive } : positive, ...rest];
  }
}
