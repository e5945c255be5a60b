// The reader's own picture: cut to a square, scaled to the network's input, laid on white.

const LARGEST = 40e6; // bytes of a file that is worth decoding for a thousand pixels

/** Decode a file; throws an Error whose message is a sentence for the reader. */
export async function openPicture(file) {
  if (file.size > LARGEST) throw new Error("This file is larger than 40 MB; choose a smaller one.");
  try {
    return await createImageBitmap(file);
  } catch {
    throw new Error("This file is no picture that the browser can read.");
  }
}

/** Show the whole picture with the square that is cut, and return the planes of that square. */
export function cut(picture, preview, size) {
  const side = Math.min(picture.width, picture.height);
  const left = (picture.width - side) / 2;
  const top = (picture.height - side) / 2;
  const scale = preview.width / Math.max(picture.width, picture.height);
  const [wide, high] = [picture.width * scale, picture.height * scale];
  const [x, y] = [(preview.width - wide) / 2, (preview.height - high) / 2];
  const shown = preview.getContext("2d");
  shown.clearRect(0, 0, preview.width, preview.height);
  shown.globalAlpha = 0.35;
  shown.drawImage(picture, x, y, wide, high);
  shown.globalAlpha = 1;
  const square = [x + left * scale, y + top * scale, side * scale, side * scale];
  shown.drawImage(picture, left, top, side, side, ...square);
  shown.strokeStyle = "#d6219c";
  shown.lineWidth = 2;
  shown.strokeRect(...square);

  const canvas = new OffscreenCanvas(size, size);
  const context = canvas.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, size, size);
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, left, top, side, side, 0, 0, size, size);
  const { data } = context.getImageData(0, 0, size, size);
  const planes = new Uint8Array(3 * size * size);
  for (let i = 0; i < size * size; i++) {
    for (let plane = 0; plane < 3; plane++) planes[plane * size * size + i] = data[4 * i + plane];
  }
  return planes;
}
