// The address is the state: #ship/stem/3/12/20?model=uint8&break=half-up,pad-0

import { SWITCHES } from "./faults.js";

/** Read a fragment. Null where it is not ours; `problem` says what of it was not understood. */
export function parse(fragment, pictures, models) {
  let text = fragment.replace(/^#/, "");
  try {
    text = decodeURIComponent(text);
  } catch {
    return null;
  }
  const [path, query = ""] = text.split("?");
  const [picture, layer, ...numbers] = path.split("/");
  if (!pictures.includes(picture)) return null;
  const asked = new URLSearchParams(query);
  const wanted = (asked.get("break") ?? "").split(",").filter(Boolean);
  const broken = wanted.filter((name) => Object.hasOwn(SWITCHES, name));
  const model = asked.get("model") ?? models[0];
  const problems = [];
  if (broken.length < wanted.length) problems.push("The address names a switch that is not there.");
  if (!models.includes(model)) problems.push(`There is no model “${model.slice(0, 40)}”.`);
  return {
    picture, layer: layer || null, at: numbers.slice(0, 3).map(Number), broken,
    model: models.includes(model) ? model : models[0], problem: problems.join(" "),
  };
}

/** Write the fragment of a state. */
export function format({ picture, layer, at, broken, model }, models) {
  const asked = [];
  if (model !== models[0]) asked.push(`model=${model}`);
  if (broken.length) asked.push(`break=${broken.join(",")}`);
  return `#${[picture, layer, ...at].join("/")}${asked.length ? `?${asked.join("&")}` : ""}`;
}

/** Bring a wish into the network: a layer that exists, a place inside its output. */
export function inside(state, model, fallback) {
  let { layer, at, problem = "" } = state;
  if (!model.byName.has(layer)) {
    if (layer) problem += ` There is no layer “${layer.slice(0, 40)}”; this is ${fallback}.`;
    layer = fallback;
  }
  const [channels, height = 1, width = 1] = model.edges[layer].shape;
  const sizes = [channels, height, width];
  const clipped = sizes.map((size, i) => {
    const wanted = Number.isInteger(at[i]) ? at[i] : 0;
    return Math.max(0, Math.min(size - 1, wanted));
  });
  if (at.some((place, i) => place !== clipped[i])) {
    problem += ` ${layer} has ${sizes.join(" × ")} outputs; the nearest one is shown.`;
  }
  return { ...state, layer, at: clipped, problem: problem.trim() };
}
