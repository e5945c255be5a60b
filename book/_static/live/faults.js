// "Break it": each switch replaces one rule of the contract, and what that did is counted.

import { CONTRACT } from "./engine.js";

/** Name in the address → what stands beside the switch, and the rules that it replaces. */
export const SWITCHES = {
  "half-up": { group: "rounding", says: "round half up", rules: { rounding: "half-up" } },
  "half-away": { group: "rounding", says: "round half away from 0", rules: { rounding: "half-away" } },
  truncate: { group: "rounding", says: "truncate", rules: { rounding: "truncate" } },
  "wrap-16": { group: "sum", says: "16-bit sum that wraps", rules: { bits: 16 } },
  "saturate-16": { group: "sum", says: "16-bit sum that saturates", rules: { bits: 16, saturates: true } },
  "wrap-18": { group: "sum", says: "18-bit sum that wraps", rules: { bits: 18 } },
  "no-zero": { says: "input zero point not subtracted", rules: { subtractZero: false } },
  "pad-0": { says: "pad with code 0", rules: { padCode: false } },
  "same-pads": { says: "pad both sides alike", rules: { samePads: false } },
  "one-scale": { says: "one scale for all channels", rules: { perChannel: false } },
  "no-bias": { says: "bias forgotten", rules: { bias: false } },
  "add-outside": { says: "add's zero point after rounding", rules: { addZeroInside: false } },
};

/** The contract with the rules of some switches in their places. */
export function rulesOf(names) {
  return Object.assign({}, CONTRACT, ...names.map((name) => SWITCHES[name].rules));
}

/** How many codes of each layer differ from the contract's, and the largest difference. */
export function damage(model, right, wrong) {
  const found = {};
  for (const { name } of model.layers) {
    let count = 0;
    let largest = 0;
    right[name].forEach((code, i) => {
      if (code !== wrong[name][i]) count++;
      largest = Math.max(largest, Math.abs(code - wrong[name][i]));
    });
    found[name] = { count, largest, of: right[name].length };
  }
  return found;
}

/** The index of the largest code; the first of equal ones, as argmax has it. */
export const winner = (codes) => codes.indexOf(Math.max(...codes));
