// What a page gets: the functions under one global name, and life in what the directive wrote.

import { fma32, halfEven } from "./arithmetic.js";
import { CONTRACT, checksum, trace } from "./engine.js";
import { damage, rulesOf, SWITCHES } from "./faults.js";
import { asC, asJSON, asText } from "./formats.js";
import { read } from "./model.js";
import { decimal, hexFloat } from "./numbers.js";
import { receipt } from "./receipt.js";
import { format, inside, parse } from "./state.js";
import { View } from "./view.js";

globalThis.bitbybit = {
  CONTRACT, SWITCHES, asC, asJSON, asText, checksum, damage, decimal, fma32, format, halfEven,
  hexFloat, inside, parse, read, receipt, rulesOf, trace,
};

const root = globalThis.document?.querySelector(".bb-live");
if (root && globalThis.bitbybitLive?.page) {
  const folder = document.currentScript.src.replace(/[^/]*$/, "");
  const view = new View(root, bitbybitLive.page, (name) => `${folder}live-${name}.js`);
  root.classList.add("bb-live-ready");
  globalThis.bitbybit.view = view;
}
