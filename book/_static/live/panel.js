// The receipt on the page: a window of codes, its products, the walking sum, the steps to the code.

import { el, grid, table } from "./dom.js";
import { asC, asJSON, asText } from "./formats.js";
import { binary, decimal, hex32, bitsOf, hexFloat, whole } from "./numbers.js";

/** Build the body of a receipt. `chosen` is the input channel whose window is shown in full. */
export function body(receipt, model, chosen, choose) {
  return [
    receipt.terms ? sums(receipt, chosen, choose) : null,
    steps(receipt, model.edges[receipt.layer]),
  ].filter(Boolean);
}

/** The window of one input channel, and the sum as it walks from channel to channel. */
function sums(receipt, chosen, choose) {
  const [high, wide] = receipt.window;
  const byChannel = Map.groupBy ? Map.groupBy(receipt.terms, (term) => term.channel)
    : grouped(receipt.terms);
  const terms = byChannel.get(chosen) ?? byChannel.values().next().value;
  const shown = terms[0].channel;
  const square = (caption, text) => grid(caption, Array.from({ length: high }, (_, row) =>
    terms.slice(row * wide, (row + 1) * wide).map((term) => ({ text: text(term), mark: term.padded }))));
  const weighted = receipt.kind !== "global_pool";
  const windows = el("div", { class: "bb-windows", tabindex: "0", role: "group",
    "aria-label": `Window of input channel ${shown}` },
    square(`codes of channel ${shown}`, (term) => whole(term.code)),
    el("span", {}, receipt.inputZero < 0 ? `− (${whole(receipt.inputZero)}) =` : `− ${receipt.inputZero} =`),
    square("centred", (term) => whole(term.centred)),
    ...(weighted ? [el("span", {}, "×"), square("weights", (term) => whole(term.weight)),
      el("span", {}, "="), square("products", (term) => whole(term.product))] : []));
  const rows = [...byChannel].map(([channel, own]) => {
    const last = own.at(-1);
    const sum = own.reduce((all, term) => all + (term.product ?? term.centred), 0);
    const button = el("button", { type: "button", "aria-pressed": String(channel === shown),
      onclick: () => choose(channel) }, String(channel));
    return [button, whole(sum), whole(last.sum), binary(last.sum, Math.min(receipt.bits, 24))];
  });
  if (weighted) {
    const { bias, accumulator, bits } = receipt;
    rows.push(["bias", whole(bias), whole(accumulator), binary(accumulator, Math.min(bits, 24))]);
  }
  const walk = el("div", { class: "bb-walk", tabindex: "0", role: "group",
    "aria-label": "The sum, channel by channel" },
    table("The sum walks through the channels; its last 24 bits stand beside it.",
      ["channel", "its products", "sum", "bits"], rows));
  const padded = terms.some((term) => term.padded);
  const note = padded ? el("p", {}, "Marked cells lie outside the map: padding.") : null;
  return el("div", {}, windows, ...(note ? [note] : []), ...(byChannel.size > 1 || weighted ? [walk] : []));
}

function grouped(terms) {
  const found = new Map();
  for (const term of terms) found.set(term.channel, [...(found.get(term.channel) ?? []), term]);
  return found;
}

const both = (value) => `${decimal(value)} = ${hexFloat(value)}`;

/** From the sum to the code, one line a step. */
function steps(receipt, edge) {
  const rows = FIRST[receipt.terms ? "sum" : receipt.kind](receipt);
  if (receipt.whole !== undefined) {
    rows.push(["rounded", whole(receipt.whole), `${decimal(receipt.tie)} from the nearest tie`]);
    if (receipt.zero) {
      rows.push(["+ zero point", whole(receipt.whole + receipt.zero), `zero point ${whole(receipt.zero)}`]);
    }
    if (receipt.rail !== null) {
      rows.push(["at the rail", whole(receipt.rail), `codes end at ${whole(edge.qmin)} and ${whole(edge.qmax)}`]);
    }
    rows.push(["code", whole(receipt.code), hex32(receipt.code & 255).replace("000000", "")]);
  }
  return el("div", { class: "bb-steps" }, table("From the sum to the code.", ["step", "value", "exactly"],
    rows));
}

const FIRST = {
  sum: (r) => [
    ["accumulator", whole(r.accumulator),
      r.accumulator === r.sum ? `${r.terms.length} terms${r.bias ? ", bias" : ""}`
        : `${whole(r.sum)} does not fit ${r.bits} bits`],
    ["× multiplier", decimal(r.multiplier), `${hexFloat(r.multiplier)}, bits ${hex32(bitsOf(r.multiplier))}`],
    ["= real", decimal(r.real), hexFloat(r.real)],
  ],
  add: (r) => [
    ["constant", decimal(r.fixed), hexFloat(r.fixed)],
    [`b: ${r.inputs[1]}`, whole(r.codes[1]), `× ${both(r.ratios[1])}`],
    ["fma(b)", decimal(r.inner), hexFloat(r.inner)],
    [`a: ${r.inputs[0]}`, whole(r.codes[0]), `× ${both(r.ratios[0])}`],
    ["fma(a)", decimal(r.real), hexFloat(r.real)],
  ],
  quantize: (r) => [
    ["value", decimal(r.value), hexFloat(r.value)],
    ["÷ scale", decimal(r.scale), hexFloat(r.scale)],
    ["= real", decimal(r.real), hexFloat(r.real)],
  ],
  dequantize: (r) => [
    ["code", whole(r.codes[0]), `− ${whole(r.inputZero)} = ${whole(r.codes[0] - r.inputZero)}`],
    ["× scale", decimal(r.scale), hexFloat(r.scale)],
    ["= real", decimal(r.code), hexFloat(r.code)],
  ],
  reshape: (r) => [["code", whole(r.code), "unchanged: only the shape is another"]],
};

/** Buttons that put the receipt on the clipboard, or into a box where that is forbidden. */
export function copies(make, tell) {
  const forms = { text: asText, JSON: asJSON, C: asC };
  const box = el("textarea", { hidden: true, readonly: true, rows: "8", "aria-label": "The receipt as text" });
  const buttons = Object.entries(forms).map(([name, form]) => el("button", {
    type: "button",
    onclick: async () => {
      const text = make(form);
      try {
        await navigator.clipboard.writeText(text);
        tell(`Copied as ${name}.`);
      } catch {
        box.value = text;
        box.hidden = false;
        box.select();
        tell("The browser forbids copying; the receipt stands in the box.");
      }
    },
  }, name));
  return el("div", { class: "bb-copy" }, el("span", {}, "Copy as "), ...buttons, box);
}
