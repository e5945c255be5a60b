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
  return Int16Array.from(acc, (sum, i) =>
    toCode(scaled(sum, multiplierOf(layer, Math.floor(i / pixels), rules)), edge, round));
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
  const made = new Int16Array((height + top + bottom) * wide * channels).fill(outside);
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
  const { fours, blocks, group } = layer;
  const each = filters / group;
  const pixels = place.outHeight * place.outWidth;
  const acc = new Int32Array(filters * pixels);
  const offsets = [];
  for (let p = 0; p < high; p++) {
    for (let q = 0; q < broad; q++) {
      offsets.push((p * layer.dilations[0] * wide + q * layer.dilations[1]) * place.channels);
    }
  }
  const taps = Int32Array.from(offsets);
  for (let block = 0; block < group * blocks; block++) {
    const g = Math.floor(block / blocks);
    const first = g * each + (block % blocks) * 4;
    const last = Math.min(first + 4, (g + 1) * each);
    for (let i = 0; i < place.outHeight; i++) {
      for (let j = 0; j < place.outWidth; j++) {
        const corner = (i * layer.strides[0] * wide + j * layer.strides[1]) * place.channels;
        let k = block * taps.length * inner * 4;
        let [a, b, c, d] = [0, 0, 0, 0];
        for (let t = 0; t < taps.length; t++) {
          const begin = corner + taps[t] + g * inner;
          for (let at = begin; at < begin + inner; at++, k += 4) {
            const x = made[at];
            a = (a + Math.imul(x, fours[k])) | 0;
            b = (b + Math.imul(x, fours[k + 1])) | 0;
            c = (c + Math.imul(x, fours[k + 2])) | 0;
            d = (d + Math.imul(x, fours[k + 3])) | 0;
          }
        }
        const at = i * place.outWidth + j;
        acc[first * pixels + at] = a;
        if (first + 1 < last) acc[(first + 1) * pixels + at] = b;
        if (first + 2 < last) acc[(first + 2) * pixels + at] = c;
        if (first + 3 < last) acc[(first + 3) * pixels + at] = d;
      }
    }
  }
  if (layer.bias && rules.bias) {
    for (let at = 0; at < acc.length; at++) acc[at] += layer.bias[Math.floor(at / pixels)];
  }
  return acc;
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
