// The arithmetic contract in JavaScript: each function equals its namesake in bitbybit.arithmetic.
// A number of JavaScript is a float64; Math.fround rounds it to float32 after each single step.

const MAGIC = 1.5 * 2 ** 52; // in [2^52, 2^53) the spacing of float64 is 1, ties go to even

/** Round half to even, |real| < 2^51: adding MAGIC rounds, subtracting it is exact. */
export const halfEven = (real) => real + MAGIC - MAGIC;

/** The ways to round that a switch may put in the contract's place; all take and give float32. */
export const ROUNDINGS = {
  "half-even": halfEven,
  "half-up": (real) => Math.floor(Math.fround(real + 0.5)),
  "half-away": (real) => Math.trunc(real) + Math.trunc(2 * (real - Math.trunc(real))),
  truncate: Math.trunc,
};

/** eq-conv-requantize: RNE(clip(real, qmin - z, qmax - z)) + z; NaN becomes qmin. */
export function toCode(real, edge, round = halfEven) {
  const low = edge.qmin - edge.zero;
  const high = edge.qmax - edge.zero;
  if (!(real > low)) return edge.qmin;
  return (real < high ? round(real) : high) + edge.zero;
}

/** The real value that is rounded, in steps of the output: f32(acc) * multiplier. */
export const scaled = (acc, multiplier) => Math.fround(Math.fround(acc) * multiplier);

const asFloat = new Float64Array(1);
const asWords = new Uint32Array(asFloat.buffer); // little-endian, as is every browser's machine

/** The float64 next to a finite, non-zero one, away from 0 or towards it. */
function neighbour(value, awayFromZero) {
  asFloat[0] = value;
  if (awayFromZero) {
    if (++asWords[0] > 0xffffffff) asWords[1]++; // the value of ++ is not yet cut to 32 bits
  } else if (asWords[0]-- === 0) asWords[1]--;
  return asFloat[0];
}

/** a * b + c with one rounding to float32; a, b and c are float32.
 *
 * The product is exact in float64. Where the sum is not, it is rounded to odd, which makes the
 * second rounding right (Boldo and Melquiond, 2008): arithmetic/_fused_multiply_add.py.
 */
export function fma32(a, b, c) {
  const product = a * b;
  const total = product + c;
  const part = total - product;
  const error = product - (total - part) + (c - part);
  if (error !== 0 && Number.isFinite(total)) {
    asFloat[0] = total;
    const isEven = (asWords[0] & 1) === 0;
    if (isEven) return Math.fround(neighbour(total, error > 0 === total > 0));
  }
  return Math.fround(total);
}

/** eq-add-sum: RNE(fma(a, ra, fma(b, rb, fixed))), saturated; from 2^31 on, and NaN: qmin. */
export function addCodes(a, b, layer, edge) {
  const inner = fma32(b, layer.ratios[1], layer.fixed);
  return sumToCode(fma32(a, layer.ratios[0], inner), edge);
}

/** Clip and round a sum that contains its zero point already. */
export function sumToCode(real, edge) {
  if (!(real > edge.qmin) || real >= 2 ** 31) return edge.qmin;
  return real < edge.qmax ? halfEven(real) : edge.qmax;
}

/** What a register of `bits` bits keeps of a sum: modulo 2^bits, or the nearest that it holds. */
export function narrow(acc, bits, saturates) {
  if (bits >= 32) return acc;
  const half = 2 ** (bits - 1);
  if (saturates) return Math.max(-half, Math.min(half - 1, acc));
  return (acc << (32 - bits)) >> (32 - bits);
}
