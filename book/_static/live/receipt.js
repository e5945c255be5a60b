// The receipt of one output: every number that made it, recomputed one product at a time.

import { addCodes, fma32, halfEven, narrow, ROUNDINGS, scaled, toCode } from "./arithmetic.js";
import { CONTRACT, geometry, multiplierOf } from "./engine.js";
import { centredWeight, isWeighted } from "./model.js";

/** Describe the output at [channel, row, column] of a layer; unused places of `at` are 0. */
export function receipt(model, traced, name, at, rules = CONTRACT) {
  const layer = model.byName.get(name);
  const inputs = layer.inputs.map((one) => traced.codes[one]);
  const common = { layer: name, kind: layer.kind, at, inputs: layer.inputs };
  const kind = isWeighted(layer) ? weighted : STEPWISE[layer.kind];
  const made = { ...common, ...kind(model, layer, inputs, at, rules) };
  made.traced = traced.codes[name][indexOf(model.edges[name].shape, at)];
  return made;
}

/** Where the value at [channel, row, column] stands in a flat array. */
export function indexOf([, height = 1, width = 1], [channel, row, column]) {
  return (channel * height + row) * width + column;
}

/** Stage 1 of conv and dense: products by channel, row and column of the window; a walking sum. */
function weighted(model, layer, [codes], [m, row, column], rules) {
  const place = geometry(model, layer, rules);
  const zero = model.edges[layer.inputs[0]].zero;
  const [, inner, high, broad] = layer.shape;
  const first = Math.floor(m / (layer.shape[0] / layer.group)) * inner;
  const terms = [];
  let sum = 0;
  for (let c = 0; c < inner; c++) {
    for (let t = 0; t < high * broad; t++) {
      const y = row * layer.strides[0] + Math.floor(t / broad) * layer.dilations[0] - place.pads[0];
      const x = column * layer.strides[1] + (t % broad) * layer.dilations[1] - place.pads[1];
      const padded = y < 0 || x < 0 || y >= place.height || x >= place.width;
      const outside = rules.padCode ? zero : 0;
      const code = padded ? outside : codes[((first + c) * place.height + y) * place.width + x];
      const centred = code - (rules.subtractZero ? zero : 0);
      const weight = centredWeight(layer, m, c, t);
      sum = (sum + centred * weight) | 0;
      terms.push({ channel: first + c, row: y, column: x, padded, code, centred, weight,
        product: centred * weight, sum });
    }
  }
  const bias = layer.bias && rules.bias ? layer.bias[m] : 0;
  return {
    window: [high, broad], inputZero: zero, terms, bias,
    ...second(model, layer, (sum + bias) | 0, multiplierOf(layer, m, rules), rules),
  };
}

/** Stage 2 (eq-conv-requantize), step by step. */
function second(model, layer, sum, multiplier, rules) {
  const edge = model.edges[layer.name];
  const accumulator = narrow(sum, rules.bits, rules.saturates);
  const real = scaled(accumulator, multiplier);
  const round = ROUNDINGS[rules.rounding];
  const bits = rules.bits;
  return { sum, accumulator, bits, multiplier, ...rounded(real, edge, round) };
}

/** Rounding, zero point and rail of a real value in output steps. */
function rounded(real, edge, round = halfEven) {
  const whole = round(real);
  const shifted = whole + edge.zero;
  const rail = shifted < edge.qmin ? edge.qmin : shifted > edge.qmax ? edge.qmax : null;
  return { real, tie: tieDistance(real), whole, zero: edge.zero, rail,
    code: toCode(real, edge, round) };
}

/** How far a value is from the nearest half, where rounding decides. */
export const tieDistance = (real) => Math.abs(real - Math.floor(real) - 0.5);

const STEPWISE = {
  global_pool: (model, layer, [codes], [channel], rules) => {
    const [, height = 1, width = 1] = model.edges[layer.inputs[0]].shape;
    const zero = model.edges[layer.inputs[0]].zero;
    const terms = [];
    let sum = 0;
    for (let i = 0; i < height * width; i++) {
      const code = codes[channel * height * width + i];
      const centred = code - (rules.subtractZero ? zero : 0);
      sum = (sum + centred) | 0;
      terms.push({ channel, row: Math.floor(i / width), column: i % width, padded: false, code,
        centred, sum });
    }
    const multiplier = multiplierOf(layer, 0, rules);
    return { window: [height, width], inputZero: zero, terms, bias: 0,
      ...second(model, layer, sum, multiplier, rules) };
  },
  // eq-add-sum: the zero points are folded into one constant
  add: (model, layer, inputs, at, rules) => {
    const edge = model.edges[layer.name];
    const codes = inputs.map((all) => all[indexOf(edge.shape, at)]);
    const fixed = rules.addZeroInside ? layer.fixed : layer.fixedInside;
    const inner = fma32(codes[1], layer.ratios[1], fixed);
    const real = fma32(codes[0], layer.ratios[0], inner);
    const common = { codes, ratios: [...layer.ratios], fixed, inner };
    if (!rules.addZeroInside) return { ...common, ...rounded(real, edge) };
    const inside = { ...edge, zero: 0 };
    const code = addCodes(codes[0], codes[1], layer, edge);
    return { ...common, ...rounded(real, inside), code };
  },
  // eq-boundary-quantize
  quantize: (model, layer, [values], at) => {
    const edge = model.edges[layer.name];
    const value = Math.fround(values[indexOf(edge.shape, at)]);
    return { value, scale: edge.scale, ...rounded(Math.fround(value / edge.scale), edge) };
  },
  // eq-boundary-dequantize
  dequantize: (model, layer, [codes], at) => {
    const edge = model.edges[layer.inputs[0]];
    const from = codes[indexOf(model.edges[layer.name].shape, at)];
    const code = Math.fround((from - edge.zero) * edge.scale);
    return { codes: [from], inputZero: edge.zero, scale: edge.scale, code };
  },
  reshape: (model, layer, [codes], at) => {
    const index = indexOf(model.edges[layer.name].shape, at);
    return { codes: [codes[index]], index, code: codes[index] };
  },
};
