// A receipt to take away: as text, as JSON, as a test vector in C.

import { binary, bitsOf, decimal, hex32, hexFloat } from "./numbers.js";

const real = (value) => `${decimal(value)} (${hexFloat(value)})`;

/** One line that says which number of which network this is. */
export function title(receipt, model, picture) {
  const [channel, row, column] = receipt.at;
  return `${picture}, ${receipt.layer}, channel ${channel}, row ${row}, column ${column}; `
    + `${model.name} ${model.sha256.slice(0, 16)}`;
}

/** The receipt as plain text: a line for each product, then a line for each step. */
export function asText(receipt, model, picture, broken = "") {
  const lines = [title(receipt, model, picture)];
  if (broken) lines.push(`broken: ${broken}`);
  const weighted = receipt.terms?.[0]?.weight === undefined ? "" : " * weight = product";
  if (receipt.terms) lines.push(`[channel, row, column] code -> code - zero point${weighted}; sum`);
  for (const term of receipt.terms ?? []) {
    const place = `[${term.channel}, ${term.row}, ${term.column}]`.padEnd(14);
    const product = term.weight === undefined ? "" : ` * ${term.weight} = ${term.product}`;
    const padded = term.padded ? "  padded" : "";
    lines.push(`${place} ${term.code} -> ${term.centred}${product}; sum ${term.sum}${padded}`);
  }
  return [...lines, ...STEPS[shape(receipt)](receipt), ""].join("\n");
}

/** Which of the four forms a receipt has. */
const shape = (receipt) => (receipt.terms ? "sum" : receipt.kind);

const ending = (r) => [
  `rounded       ${r.whole} (${decimal(r.tie)} from the nearest half)`,
  ...(r.zero ? [`+ zero point  ${r.zero} = ${r.whole + r.zero}`] : []),
  ...(r.rail === null ? [] : [`rail          ${r.rail}`]),
  `code          ${r.code}`,
];

const STEPS = {
  sum: (r) => [
    `+ bias        ${r.bias}`,
    `accumulator   ${r.accumulator} = ${binary(r.accumulator, r.bits)}`,
    `* multiplier  ${real(r.multiplier)}`,
    `= real        ${real(r.real)}`,
    ...ending(r),
  ],
  add: (r) => [
    `a, ratio      ${r.codes[0]}, ${real(r.ratios[0])}`,
    `b, ratio      ${r.codes[1]}, ${real(r.ratios[1])}`,
    `fixed         ${real(r.fixed)}`,
    `fma(b)        ${real(r.inner)}`,
    `fma(a)        ${real(r.real)}`,
    ...ending(r),
  ],
  quantize: (r) => [
    `value         ${real(r.value)}`,
    `/ scale       ${real(r.scale)}`,
    `= real        ${real(r.real)}`,
    ...ending(r),
  ],
  dequantize: (r) => [
    `code          ${r.codes[0]} - ${r.inputZero} = ${r.codes[0] - r.inputZero}`,
    `* scale       ${real(r.scale)}`,
    `= real        ${real(r.code)}`,
  ],
  reshape: (r) => [`code          ${r.code}, unchanged`],
};

/** Everything that the receipt knows; floats also as their bits. */
export function asJSON(receipt, model, picture, rules) {
  const bits = {};
  for (const key of ["multiplier", "real", "scale", "value", "fixed", "inner"]) {
    if (receipt[key] !== undefined) bits[key] = hex32(bitsOf(receipt[key]));
  }
  if (receipt.ratios) bits.ratios = receipt.ratios.map((ratio) => hex32(bitsOf(ratio)));
  const told = { model: model.name, sha256: model.sha256, picture, ...receipt, bits, rules };
  return `${JSON.stringify(told, null, 1)}\n`;
}

const list = (type, name, values) =>
  `static const ${type} ${name}[${values.length}] = {${values.join(", ")}};`;
const asBits = (name, value) =>
  `static const uint32_t ${name} = ${hex32(bitsOf(value))}; /* float32 ${hexFloat(value)} */`;

const OPERANDS = {
  sum: (r) => [
    list("int16_t", "x", r.terms.map((term) => term.centred)),
    ...(r.kind === "global_pool" ? [] : [list("int16_t", "w", r.terms.map((term) => term.weight))]),
    `static const int32_t bias = ${r.bias}, accumulator = ${r.accumulator};`,
    asBits("multiplier", r.multiplier),
  ],
  add: (r) => [
    list("int16_t", "x", r.codes),
    asBits("a_ratio", r.ratios[0]), asBits("b_ratio", r.ratios[1]), asBits("fixed", r.fixed),
  ],
  quantize: (r) => [asBits("value", r.value), asBits("scale", r.scale)],
  dequantize: (r) => [list("int16_t", "x", r.codes), asBits("scale", r.scale)],
  reshape: (r) => [list("int16_t", "x", r.codes)],
};

/** A test vector in C: operands without their zero points, constants as bits, the result. */
export function asC(receipt, model, picture) {
  const edge = model.edges[receipt.layer];
  const zero = receipt.inputZero ?? 0;
  const result = receipt.kind === "dequantize" ? asBits("y", receipt.code)
    : `static const int32_t y = ${receipt.code}, y_zero_point = ${receipt.zero ?? 0}, `
      + `y_min = ${edge.qmin}, y_max = ${edge.qmax};`;
  const lines = OPERANDS[shape(receipt)](receipt);
  if (receipt.kind === "dequantize") lines.push(`static const int32_t x_zero_point = ${zero};`);
  return [`/* ${title(receipt, model, picture)} */`, "#include <stdint.h>", ...lines, result, ""]
    .join("\n");
}
