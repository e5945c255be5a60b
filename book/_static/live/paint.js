// Maps as pixels: one canvas for all channels of a layer, side by side.

/** How many maps stand side by side: powers of two that make the sheet at least as wide as high.
 *
 * Maps of one pixel lie in rows of 32.
 */
export function columnsOf(channels, height, width) {
  if (height * width === 1) return Math.min(32, channels);
  let columns = 1;
  while (columns < channels && columns * width < Math.ceil(channels / columns) * height) columns *= 2;
  return columns;
}

/** The sheet of a layer: where each channel lies, in codes. */
export function sheet([channels, height = 1, width = 1]) {
  const columns = columnsOf(channels, height, width);
  const rows = Math.ceil(channels / columns);
  return {
    channels, height, width, columns, wide: columns * width, high: rows * height,
    corner: (channel) => [Math.floor(channel / columns) * height, (channel % columns) * width],
  };
}

/** Colours of all codes of an edge: sequential from the rail, or diverging around the zero point.
 *
 * The sequential ones follow the square root of the distance, since most codes are small.
 */
export function coloursOf(edge, ramps) {
  const diverging = edge.zero !== edge.qmin;
  const ramp = ramps[diverging ? "diverging" : "sequential"];
  const most = Math.max(edge.qmax - edge.zero, edge.zero - edge.qmin);
  const colours = new Uint32Array(256);
  for (let code = edge.qmin; code <= edge.qmax; code++) {
    const share = diverging ? ((code - edge.zero) / most + 1) / 2 : Math.sqrt((code - edge.qmin) / 255);
    const [red, green, blue] = ramp[Math.round(share * (ramp.length - 1))];
    colours[code - edge.qmin] = (255 << 24) | (blue << 16) | (green << 8) | red;
  }
  return colours;
}

const CHANGED = (255 << 24) | (201 << 16) | (33 << 8) | 214; // the book's colour of rails

/** Draw all channels; codes that differ from `right` get the colour of what is wrong. */
export function drawSheet(canvas, codes, edge, ramps, right = null) {
  const place = sheet(edge.shape);
  drawCells(canvas, place.wide, place.high, (pixels) => {
    const colours = coloursOf(edge, ramps);
    let at = 0;
    for (let channel = 0; channel < place.channels; channel++) {
      const [top, left] = place.corner(channel);
      for (let y = 0; y < place.height; y++) {
        for (let x = 0; x < place.width; x++, at++) {
          const changed = right && right[at] !== codes[at];
          pixels[(top + y) * place.wide + left + x] = changed ? CHANGED
            : colours[codes[at] - edge.qmin];
        }
      }
    }
  });
}

/** Draw one channel. */
export function drawChannel(canvas, codes, edge, channel, ramps) {
  const [, height = 1, width = 1] = edge.shape;
  const colours = coloursOf(edge, ramps);
  drawCells(canvas, width, height, (pixels) => {
    for (let i = 0; i < height * width; i++) {
      pixels[i] = colours[codes[channel * height * width + i] - edge.qmin];
    }
  });
}

/** Draw a picture of three planes, 0 to 255. */
export function drawPlanes(canvas, planes, height, width) {
  const size = height * width;
  drawCells(canvas, width, height, (pixels) => {
    for (let i = 0; i < size; i++) {
      pixels[i] = (255 << 24) | (planes[2 * size + i] << 16) | (planes[size + i] << 8) | planes[i];
    }
  });
}

function drawCells(canvas, width, height, fill) {
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  fill(new Uint32Array(image.data.buffer));
  context.putImageData(image, 0, 0);
}
