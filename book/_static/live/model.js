// Reading what book/_ext/bitbybit_book/live.py wrote: integers as base64 of little-endian arrays.

const TYPES = {
  int8: Int8Array, uint8: Uint8Array, int32: Int32Array, float32: Float32Array,
};

/** {type, data} to a typed array; floats keep their bits, since none passes through decimals. */
export function unpack({ type, data }) {
  const text = atob(data);
  const bytes = Uint8Array.from(text, (letter) => letter.charCodeAt(0));
  return new TYPES[type](bytes.buffer);
}

const FORMAT = 1;
export const isWeighted = (layer) => layer.kind === "conv" || layer.kind === "dense";
export const hasAccumulator = (layer) => isWeighted(layer) || layer.kind === "global_pool";

/** Prepare an exported network: unpack its arrays, arrange weights as the sums want them. */
export function read(exported) {
  if (exported.format !== FORMAT) throw new Error(`format ${exported.format} is not ${FORMAT}`);
  const edges = {};
  for (const [name, edge] of Object.entries(exported.edges)) {
    edges[name] = { ...edge, scale: edge.scale && unpack(edge.scale)[0] };
    edges[name].size = edge.shape.reduce((all, size) => all * size, 1);
  }
  const layers = exported.layers.map((layer) => {
    const made = { ...layer };
    for (const key of ["weight", "weightZero", "bias", "multiplier", "ratios", "fixed"]) {
      if (layer[key]) made[key] = unpack(layer[key]);
    }
    if (made.fixed) [made.fixed, made.fixedInside] = made.fixed;
    return isWeighted(made) ? { ...made, ...arranged(made) } : made;
  });
  return { ...exported, edges, layers, byName: new Map(layers.map((one) => [one.name, one])) };
}

/** Weights minus their zero points, four output channels beside each other: [M/4][k][4].
 *
 * k runs over the taps of the window and, innermost, over the channels of one group. Channels
 * that fill up the last four of a group are zero, and never written.
 */
function arranged({ weight, weightZero, shape, group }) {
  const [filters, channels, height, width] = shape;
  const taps = height * width;
  const each = filters / group;
  const blocks = Math.ceil(each / 4);
  const fours = new Int32Array(group * blocks * 4 * taps * channels);
  for (let m = 0; m < filters; m++) {
    const block = Math.floor(m / each) * blocks + Math.floor((m % each) / 4);
    for (let c = 0; c < channels; c++) {
      for (let t = 0; t < taps; t++) {
        const at = (block * taps * channels + t * channels + c) * 4 + ((m % each) % 4);
        fours[at] = centredWeight({ weight, weightZero, shape }, m, c, t);
      }
    }
  }
  return { fours, blocks };
}

/** w - z_w of one weight; m output channel, c channel within the group, t tap. */
export function centredWeight({ weight, weightZero, shape }, m, c, t) {
  const taps = shape[2] * shape[3];
  const zero = weightZero[weightZero.length > 1 ? m : 0];
  return weight[(m * shape[1] + c) * taps + t] - zero;
}
