// Every integer of one image: accumulators and codes of each layer, in ONNX layout [C, H, W].

import { addCodes, fma32, narrow, ROUNDINGS, scaled, sumToCode, toCode } from "./arithmetic.js";
import { hasAccumulator } from "./model.js";

/** What the contract does; a switch of "break it" replaces one entry (faults.js). */
export const CONTRACT = Object.freeze({
  rounding: "half-even", bits: 32, saturates: false,
  subtractZero: true, padCode: true, samePads: true,
  perChannel: true, bias: true, addZeroInside: true,
});

/** Compute all edges of a network from one image.
 *
 * image: the graph's input, real numbers, [C, H, W]. Returns codes and accumulators by layer.
 */
export function trace(model, image, rules = CONTRACT) {
  const codes = { [model.input]: image };
  const accumulators = {};
  for (const layer of model.layers) {
    const inputs = layer.inputs.map((name) => codes[name]);
    if (hasAccumulator(layer)) {
      const acc = accumulate(model, layer, inputs[0], rules);
      accumulators[layer.name] = acc;
      codes[layer.name] = requantized(model, layer, acc, rules);
    } else {
      codes[layer.name] = OTHERS[layer.kind](model, layer, inputs, rules);
    }
  }
  return { codes, accumulators };
}

const OTHERS = {
  // eq-boundary-quantize: a true float32 division
  quantize: (model, layer, [real]) => {
    const edge = model.edges[layer.name];
    return Int16Array.from(real, (x) => toCode(Math.fround(Math.fround(x) / edge.scale), edge));
  },
  // eq-boundary-dequantize: one float32 product
  dequantize: (model, layer, [codes]) => {
    const edge = model.edges[layer.inputs[0]];
    return Float32Array.from(codes, (code) => Math.fround((code - edge.zero) * edge.scale));
  },
  reshape: (model, layer, [codes]) => codes,
  add: (model, layer, [a, b], rules) => {
    const edge = model.edges[layer.name];
    const sum = rules.addZeroInside ? addCodes : addOutside;
    return a.map((code, i) => sum(code, b[i], layer, edge));
  },
};

/** The mistake of adding the output's zero point after rounding. */
function addOutside(a, b, layer, edge) {
  const real = fma32(a, layer.ratios[0], fma32(b, layer.ratios[1], layer.fixedInside));
  return toCode(real, edge);
}

/** Stage 1: int32 sums with their bias (eq-conv-accumulate, eq-pool-accumulate). */
export function accumulate(model, layer, codes, rules) {
  const sums = layer.kind === "global_pool" ? pool(model, layer, codes, rules)
    : convolve(model, layer, codes, rules);
  if (rules.bits < 32) return sums.map((sum) => narrow(sum, rules.bits, rules.saturates));
  return sums;
}

/** Stage 2: codes of the accumulators, one multiplier for each channel or for all. */
function requantized(model, layer, acc, rules) {
  const edge = model.edges[layer.name];
  const round = ROUNDINGS[rules.rounding];
  const pixels = acc.length / edge.shape[0];
  const codes = new Int16Array(acc.length);
  for (let channel = 0; channel < edge.shape[0]; channel++) {
    const multiplier = multiplierOf(layer, channel, rules);
    for (let at = channel * pixels; at < (channel + 1) * pixels; at++) {
      codes[at] = toCode(scaled(acc[at], multiplier), edge, round);
    }
  }
  return codes;
}

/** The float32 multiplier of a channel; "one scale" takes the largest, which no weight exceeds. */
export function multiplierOf(layer, channel, rules = CONTRACT) {
  const { multiplier } = layer;
  if (multiplier.length === 1) return multiplier[0];
  return rules.perChannel ? multiplier[channel] : Math.max(...multiplier);
}

function pool(model, layer, codes, rules) {
  const [channels, ...size] = model.edges[layer.inputs[0]].shape;
  const pixels = size.reduce((all, length) => all * length, 1);
  const zero = rules.subtractZero ? model.edges[layer.inputs[0]].zero : 0;
  const acc = new Int32Array(channels);
  for (let c = 0; c < channels; c++) {
    let sum = 0;
    for (let i = c * pixels; i < (c + 1) * pixels; i++) sum = (sum + codes[i] - zero) | 0;
    acc[c] = sum;
  }
  return acc;
}

/** How the window of a layer lies on its input; a dense layer sees one pixel of all channels. */
export function geometry(model, layer, rules = CONTRACT) {
  const shape = model.edges[layer.inputs[0]].shape;
  const [channels, height, width] = layer.kind === "dense" ? [shape[0], 1, 1] : shape;
  const [, outHeight, outWidth] = layer.kind === "dense" ? [0, 1, 1] : model.edges[layer.name].shape;
  const pads = rules.samePads ? layer.pads : symmetric(layer.pads);
  return { channels, height, width, outHeight, outWidth, pads };
}

/** The same on both sides, as some frameworks pad; every window moves where the sum was odd. */
function symmetric([top, left, bottom, right]) {
  const [y, x] = [Math.ceil((top + bottom) / 2), Math.ceil((left + right) / 2)];
  return [y, x, y, x];
}

/** Code minus zero point of each tap, padded, channels innermost: [H + pads, W + pads, C]. */
function padded(codes, zero, { channels, height, width, pads }, rules) {
  const [top, left, bottom, right] = pads;
  const wide = width + left + right;
  const subtracted = rules.subtractZero ? zero : 0;
  const outside = (rules.padCode ? zero : 0) - subtracted; // 0 in the contract
  const made = new Int32Array((height + top + bottom) * wide * channels).fill(outside);
  for (let c = 0; c < channels; c++) {
    for (let y = 0; y < height; y++) {
      let to = ((y + top) * wide + left) * channels + c;
      const from = (c * height + y) * width;
      for (let x = 0; x < width; x++, to += channels) made[to] = codes[from + x] - subtracted;
    }
  }
  return { made, wide };
}

/** eq-conv-accumulate: four output channels in one pass over each window. */
function convolve(model, layer, codes, rules) {
  const place = geometry(model, layer, rules);
  const { made, wide } = padded(codes, model.edges[layer.inputs[0]].zero, place, rules);
  const [filters, inner, high, broad] = layer.shape;
  const { fours, blocks, group, strides, dilations } = layer;
  const each = filters / group;
  const [height, width] = [place.outHeight, place.outWidth];
  const pixels = height * width;
  const acc = new Int32Array(filters * pixels);
  const taps = new Int32Array(high * broad); // where each tap begins, seen from the window's corner
  for (let t = 0; t < taps.length; t++) {
    const [p, q] = [Math.floor(t / broad), t % broad];
    taps[t] = (p * dilations[0] * wide + q * dilations[1]) * place.channels;
  }
  const sums = new Int32Array(4);
  for (let block = 0; block < group * blocks; block++) {
    const g = Math.floor(block / blocks);
    const first = g * each + (block % blocks) * 4;
    const used = Math.min(4, (g + 1) * each - first);
    const weights = block * taps.length * inner * 4;
    for (let at = 0; at < pixels; at++) {
      const [row, column] = [Math.floor(at / width), at % width];
      const corner = (row * strides[0] * wide + column * strides[1]) * place.channels + g * inner;
      sumFours(made, corner, taps, inner, fours, weights, sums);
      for (let m = 0; m < used; m++) acc[(first + m) * pixels + at] = sums[m];
    }
  }
  if (layer.bias && rules.bias) {
    for (let at = 0; at < acc.length; at++) acc[at] += layer.bias[Math.floor(at / pixels)];
  }
  return acc;
}

/** Four sums of products over one window; int32, modulo 2^32, as the contract's register. */
function sumFours(x, corner, taps, inner, w, weights, sums) {
  let k = weights;
  let a = 0;
  let b = 0;
  let c = 0;
  let d = 0;
  for (let t = 0; t < taps.length; t++) {
    const begin = corner + taps[t];
    for (let at = begin; at < begin + inner; at++, k += 4) {
      const code = x[at];
      a = (a + Math.imul(code, w[k])) | 0;
      b = (b + Math.imul(code, w[k + 1])) | 0;
      c = (c + Math.imul(code, w[k + 2])) | 0;
      d = (d + Math.imul(code, w[k + 3])) | 0;
    }
  }
  sums[0] = a;
  sums[1] = b;
  sums[2] = c;
  sums[3] = d;
}

/** FNV-1a of all codes in graph order: what the build wrote beside each bundled picture. */
export function checksum(model, codes) {
  let hash = 0x811c9dc5;
  for (const { name } of model.layers) {
    if (model.edges[name].scale === undefined) continue;
    for (const code of codes[name]) hash = Math.imul(hash ^ (code & 255), 0x01000193);
  }
  return hash >>> 0;
}
