// The network on the page: tiles of maps, class bars, switches, and the receipt of one output.

import { el } from "./dom.js";
import { checksum, trace } from "./engine.js";
import { damage, rulesOf, SWITCHES, winner } from "./faults.js";
import { read, unpack } from "./model.js";
import { whole } from "./numbers.js";
import { drawChannel, drawPlanes, drawSheet, sheet } from "./paint.js";
import { body, copies } from "./panel.js";
import { cut, openPicture } from "./picture.js";
import { receipt } from "./receipt.js";
import { format, inside, parse } from "./state.js";

const OWN = "yours";
const KEPT = 12; // traces in memory, a megabyte each
const ARROWS = {
  ArrowLeft: [0, 0, -1], ArrowRight: [0, 0, 1], ArrowUp: [0, -1, 0], ArrowDown: [0, 1, 0],
  PageUp: [-1, 0, 0], PageDown: [1, 0, 0],
};

/** One live network. `root` is what the directive wrote; `given` are pictures, ramps and classes. */
export class View {
  constructor(root, given, sources) {
    Object.assign(this, { root, given, sources, nets: {}, traces: new Map(), pictures: {} });
    for (const [name, planes] of Object.entries(given.pictures)) this.pictures[name] = unpack(planes);
    this.models = root.dataset.models.split(" ");
    this.start = { picture: root.dataset.picture, layer: root.dataset.layer,
      at: root.dataset.at.split(" ").map(Number), broken: [], model: this.models[0] };
    this.build();
    const told = this.asked();
    this.show(told ?? this.start);
    if (told) this.root.scrollIntoView();
    const follow = () => { // other fragments lead elsewhere on the page
      const asked = location.hash ? this.asked() : this.start;
      if (asked) this.show(asked);
    };
    window.addEventListener("popstate", follow);
    window.addEventListener("hashchange", follow);
  }

  /** The state that the address names, or null. */
  asked() {
    const told = parse(location.hash, [...Object.keys(this.pictures), OWN], this.models);
    if (!told || this.pictures[told.picture]) return told;
    const problem = "Your own picture is not part of the address; choose it again.";
    return { ...told, picture: this.start.picture, problem };
  }

  part(name) {
    return this.root.querySelector(`.bb-live-${name}`);
  }

  /** Make what only a script can use. */
  build() {
    this.tiles = [...this.root.querySelectorAll("[data-layer] canvas")].map((canvas) => {
      const button = canvas.closest("button");
      const mark = el("span", { class: "bb-mark", hidden: true });
      button.append(mark);
      button.addEventListener("click", (event) => this.clicked(event, button, canvas));
      button.addEventListener("keydown", (event) => this.pressed(event, button.dataset.layer));
      return { button, canvas, mark, name: button.dataset.layer };
    });
    for (const one of this.root.querySelectorAll(".bb-live-classes button")) {
      one.addEventListener("click", () => this.go({ layer: one.dataset.layer,
        at: [Number(one.dataset.channel), 0, 0] }));
    }
    this.preview = el("canvas", { width: "96", height: "96", class: "bb-live-preview", hidden: true,
      role: "img", "aria-label": "Your picture, and the square that is cut from it" });
    const file = el("input", { type: "file", accept: "image/*", class: "bb-hidden", id: "bb-own",
      onchange: () => this.take(file.files[0]).finally(() => { file.value = ""; }) });
    this.thumbs = Object.keys(this.pictures).map((name) => {
      const canvas = el("canvas", { width: "32", height: "32" });
      drawPlanes(canvas, this.pictures[name], 32, 32);
      return el("button", { type: "button", "data-picture": name, title: name,
        "aria-label": name, onclick: () => this.go({ picture: name }) }, canvas);
    });
    this.part("pictures").replaceChildren(...this.thumbs, file,
      el("label", { for: "bb-own", class: "bb-live-own" }, "your picture"), this.preview);
    this.part("break").replaceChildren(...this.switches());
    this.status = el("p", { role: "status", class: "bb-live-status" });
    this.part("status").replaceChildren(this.status);
    this.layerSelect = el("select", { onchange: () => this.go({ layer: this.layerSelect.value }) });
    this.numbers = ["channel", "row", "column"].map((name, i) => el("input", { type: "number",
      min: "0", step: "1", inputmode: "numeric", onchange: (event) => {
        const at = [...this.state.at];
        at[i] = Math.floor(Number(event.target.value)) || 0;
        this.go({ at });
      } }));
    const labelled = (text, control) => el("label", {}, text, " ", control);
    this.modelSelect = el("select", { onchange: () => this.go({ model: this.modelSelect.value }) },
      ...this.models.map((name) => el("option", { value: name }, name.replaceAll("_", " "))));
    this.lenses = el("div", { class: "bb-lenses" });
    this.paper = el("div", { class: "bb-paper" });
    this.heading = el("p", { class: "bb-live-title" });
    this.part("receipt").replaceChildren(this.heading,
      el("p", { class: "bb-live-where" }, labelled("layer", this.layerSelect),
        ...["channel", "row", "column"].map((name, i) => labelled(name, this.numbers[i])),
        labelled("model", this.modelSelect)),
      this.lenses, this.paper,
      copies((form) => form(this.receipt, this.net, this.state.picture,
        form.name === "asJSON" ? this.rules : this.state.broken.join(", ")),
      (text) => this.tell(text)));
  }

  switches() {
    return Object.entries(SWITCHES).map(([name, { says, group }]) => {
      const box = el("input", { type: "checkbox", value: name, "data-group": group ?? null,
        onchange: () => this.switched(box) });
      return el("label", {}, box, ` ${says}`);
    });
  }

  /** One switch of a group at a time. */
  switched(box) {
    const { group } = SWITCHES[box.value];
    const others = this.state.broken.filter((name) => name !== box.value
      && !(group && box.checked && SWITCHES[name].group === group));
    this.go({ broken: box.checked ? [...others, box.value] : others });
  }

  /** Change the state by what the reader did, and put it into the address. */
  go(change, replace = false) {
    const state = { ...this.state, problem: "", ...change };
    this.show(state, replace ? "replaceState" : "pushState");
  }

  async show(wish, remember = null) {
    let model;
    try {
      model = await this.load(wish.model);
    } catch (error) {
      this.tell(error.message);
      return;
    }
    const state = inside(wish, model, this.start.layer);
    const { layer: before, at: old } = this.state ?? {};
    if (state.layer !== before || state.at[0] !== old[0]) this.chosen = null;
    Object.assign(this, { state, net: model, rules: rulesOf(state.broken) });
    if (remember) {
      try {
        history[remember](null, "", format(state, this.models));
      } catch { /* a page that may not have a history still works */ }
    }
    const begin = performance.now();
    this.right = this.traced([]);
    const took = performance.now() - begin;
    this.made = this.traced(state.broken);
    this.paint();
    this.write();
    this.tell(state.problem || this.summary(took));
  }

  planes() {
    return this.pictures[this.state.picture];
  }

  /** All integers of this picture with some rules broken; the last ones are kept. */
  traced(broken) {
    const key = [this.state.model, ...broken, this.state.picture].join(" ");
    if (!this.traces.has(key)) {
      if (this.traces.size === KEPT) this.traces.delete(this.traces.keys().next().value);
      this.traces.set(key, trace(this.net, this.planes(), rulesOf(broken)));
    }
    return this.traces.get(key);
  }

  /** Read a network; its integers come by a script, the only way that works from a file. */
  async load(name) {
    if (!this.nets[name]) {
      if (!globalThis.bitbybitLive[name]) {
        await new Promise((done, failed) => {
          document.head.append(el("script", { src: this.sources(name), onload: done,
            onerror: () => failed(new Error("The integers of this model could not be loaded.")) }));
        });
      }
      this.nets[name] = read(globalThis.bitbybitLive[name]);
    }
    return this.nets[name];
  }

  async take(file) {
    if (!file) return;
    try {
      const picture = await openPicture(file);
      this.preview.hidden = false;
      this.pictures[OWN] = cut(picture, this.preview, 32);
      for (const key of this.traces.keys()) if (key.endsWith(` ${OWN}`)) this.traces.delete(key);
      this.go({ picture: OWN });
    } catch (error) {
      this.tell(error.message);
    }
  }

  // --- what is shown ------------------------------------------------------------------------

  paint() {
    const { net, made, right, state } = this;
    const broken = made !== right;
    const fresh = made !== this.painted;
    if (fresh) this.found = broken ? damage(net, right.codes, made.codes) : null;
    const { found } = this;
    for (const { button, canvas, name, mark } of this.tiles) {
      const edge = net.edges[name];
      if (fresh) this.draw(canvas, name, broken);
      const said = button.parentElement.querySelector(".bb-live-count");
      if (said) said.textContent = found ? `${whole(found[name].count)} changed` : "";
      button.toggleAttribute("data-changed", Boolean(found?.[name].count));
      button.setAttribute("aria-pressed", String(name === state.layer));
      place(mark, name === state.layer ? edge.shape : null, state.at);
    }
    this.painted = made;
    const bars = [...this.root.querySelectorAll(".bb-live-classes button")];
    const codes = made.codes[bars[0].dataset.layer];
    const first = winner(codes);
    bars.forEach((bar, i) => {
      bar.querySelector("meter").value = codes[i];
      bar.querySelector(".bb-live-code").textContent = whole(codes[i]);
      bar.toggleAttribute("data-first", i === first);
      bar.setAttribute("aria-pressed", String(bar.dataset.layer === state.layer && state.at[0] === i));
      const edge = net.edges[bar.dataset.layer];
      [bar.querySelector("meter").min, bar.querySelector("meter").max] = [edge.qmin, edge.qmax];
    });
    for (const thumb of this.thumbs) {
      thumb.setAttribute("aria-pressed", String(thumb.dataset.picture === state.picture));
    }
    for (const box of this.part("break").querySelectorAll("input")) {
      box.checked = state.broken.includes(box.value);
    }
    this.modelSelect.value = state.model;
  }

  draw(canvas, name, broken) {
    const right = broken ? this.right.codes[name] : null;
    if (this.net.byName.get(name).kind === "quantize") drawPlanes(canvas, this.planes(), 32, 32);
    else drawSheet(canvas, this.made.codes[name], this.net.edges[name], this.given.ramps, right);
  }

  /** What happened, in one sentence. */
  summary(took) {
    const { net, state, right, made } = this;
    const output = this.root.querySelector(".bb-live-classes button").dataset.layer;
    const [was, is] = [right, made].map((one) => winner(one.codes[output]));
    const name = (i) => this.given.classes[i] ?? `class ${i}`;
    if (this.found) {
      const counts = net.layers.filter(({ name: one }) => net.edges[one].scale !== undefined)
        .map(({ name: one }) => this.found[one]);
      const changed = counts.reduce((all, one) => all + one.count, 0);
      const total = counts.reduce((all, one) => all + one.of, 0);
      const verdict = was === is ? `the answer stays ${name(is)}` : `${name(was)} becomes ${name(is)}`;
      return `${whole(changed)} of ${whole(total)} codes changed; ${verdict}.`;
    }
    const sums = net.checksums?.[state.picture];
    const same = sums === undefined ? "" : sums === checksum(net, right.codes)
      ? " Their checksum is the one that Python computed when this page was built."
      : " Their checksum is NOT the one that Python computed: this browser computes otherwise.";
    const speed = took > 0.5 ? ` in ${Math.round(took)} ms` : "";
    return `Every integer of ${state.picture} was computed in this page${speed}; the answer is ${name(is)}.${same}`;
  }

  /** The receipt of the chosen output. */
  write() {
    const { net, state } = this;
    this.receipt = receipt(net, this.made, state.layer, state.at, this.rules);
    const channels = this.receipt.terms?.map((term) => term.channel) ?? [];
    if (!channels.includes(this.chosen)) this.chosen = channels[0] ?? 0;
    const shape = net.edges[state.layer].shape;
    const code = this.receipt.code;
    this.heading.replaceChildren(el("strong", {}, "Receipt"), ` ${state.picture} · ${state.layer}`
      + ` · ${["channel", "row", "column"].slice(0, shape.length).map((word, i) => `${word} ${state.at[i]}`).join(" · ")}`
      + ` · ${Number.isInteger(code) ? `code ${whole(code)}` : code}`);
    if (this.layerSelect.dataset.model !== net.sha256) {
      this.layerSelect.replaceChildren(...net.layers.map(({ name }) => el("option", { value: name }, name)));
      this.layerSelect.dataset.model = net.sha256;
    }
    this.layerSelect.value = state.layer;
    this.numbers.forEach((box, i) => {
      box.value = state.at[i];
      box.max = (shape[i] ?? 1) - 1;
      box.disabled = (shape[i] ?? 1) === 1;
    });
    this.lenses.replaceChildren(...this.lensOf());
    this.paper.replaceChildren(...body(this.receipt, net, this.chosen, (channel) => {
      this.chosen = channel;
      this.write();
      this.paper.querySelector('[aria-pressed="true"]')?.focus();
    }));
  }

  /** Enlarged maps: what the receipt reads, with its window, and what it makes, with its pixel. */
  lensOf() {
    const { net, state, receipt: told } = this;
    const lenses = [];
    const terms = told.terms?.filter((term) => term.channel === this.chosen);
    net.byName.get(state.layer).inputs.forEach((name) => {
      const edge = net.edges[name];
      if (edge.shape.length < 3 || edge.shape[1] * edge.shape[2] === 1 || edge.scale === undefined) return;
      const at = terms ? [this.chosen, terms[0].row, terms[0].column] : state.at;
      lenses.push(this.lens(name, at, terms ? told.window : [1, 1], "reads"));
    });
    const shape = net.edges[state.layer].shape;
    if (shape.length === 3 && shape[1] * shape[2] > 1) {
      lenses.push(this.lens(state.layer, state.at, [1, 1], "makes"));
    }
    return lenses;
  }

  lens(name, at, window, verb) {
    const canvas = el("canvas", {});
    const edge = this.net.edges[name];
    drawChannel(canvas, this.made.codes[name], edge, at[0], this.given.ramps);
    const mark = el("span", { class: "bb-mark" });
    frame(mark, edge.shape, at.slice(1), window);
    const button = el("button", { type: "button", class: "bb-lens", "aria-label":
      `${verb} ${name}, channel ${at[0]}: choose a pixel of it; arrow keys move`,
      onclick: (event) => {
        const [row, column] = event.detail ? cell(event, canvas) : at.slice(1);
        this.go({ layer: name, at: [at[0], row, column] });
      },
      onkeydown: (event) => this.pressed(event, name) }, canvas, mark);
    return el("div", {}, button, el("span", { class: "bb-live-name" }, `${verb} ${name}, channel ${at[0]}`));
  }

  clicked(event, button, canvas) {
    const name = button.dataset.layer;
    if (!event.detail) { // by keyboard: the layer, at the same place
      this.go({ layer: name, at: this.state.at });
      return;
    }
    const [y, x] = cell(event, canvas);
    const { height, width, columns, channels } = sheet(this.net.edges[name].shape);
    const isPhoto = this.net.byName.get(name).kind === "quantize";
    const channel = isPhoto ? 0 : Math.floor(y / height) * columns + Math.floor(x / width);
    if (channel < channels) this.go({ layer: name, at: [channel, y % height, x % width] });
  }

  pressed(event, name) {
    const step = ARROWS[event.key];
    if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const [channels, height = 1, width = 1] = this.net.edges[name].shape;
    const sizes = [channels, height, width];
    const from = name === this.state.layer ? this.state.at : [0, 0, 0];
    const at = from.map((place, i) => Math.max(0, Math.min(sizes[i] - 1, place + step[i])));
    const lens = event.target.closest(".bb-lens");
    const order = lens && [...this.lenses.querySelectorAll(".bb-lens")].length;
    this.go({ layer: name, at }, true);
    if (lens && order) queueMicrotask(() => [...this.lenses.querySelectorAll(".bb-lens")].at(-1)?.focus());
  }

  tell(text) {
    this.status.textContent = text;
  }
}

/** Which cell of a canvas lies under the pointer: [row, column]. */
function cell(event, canvas) {
  const box = canvas.getBoundingClientRect();
  const share = (value, size, count) => Math.max(0, Math.min(count - 1, Math.floor((value / size) * count)));
  return [share(event.clientY - box.top, box.height, canvas.height),
    share(event.clientX - box.left, box.width, canvas.width)];
}

/** Put the mark of the chosen output on its sheet; none without a shape. */
function place(mark, shape, [channel, row, column]) {
  mark.hidden = !shape;
  if (!shape) return;
  const { wide, high, corner } = sheet(shape);
  const isPhoto = mark.parentElement.classList.contains("bb-live-photo");
  const [top, left] = isPhoto ? [0, 0] : corner(channel);
  frame(mark, isPhoto ? shape : [0, high, wide], [top + row, left + column], [1, 1]);
}

/** Lay a frame around cells of a map. */
function frame(mark, [, height = 1, width = 1], [row, column], [high, wide]) {
  const percent = (share) => `${100 * share}%`;
  mark.style.top = percent(row / height);
  mark.style.left = percent(column / width);
  mark.style.height = percent(high / height);
  mark.style.width = percent(wide / width);
}
