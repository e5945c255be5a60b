// Numbers as text: exact, and the same on every machine.

const float = new Float32Array(1);
const word = new Uint32Array(float.buffer);

/** The 32 bits of a float32. */
export function bitsOf(value) {
  float[0] = value;
  return word[0];
}

/** A float32 as Python's float.hex writes it, without its trailing zeros: 0x1.2ap-8. */
export function hexFloat(value) {
  const bits = bitsOf(value);
  const sign = bits >>> 31 ? "-" : "";
  const exponent = (bits >>> 23) & 255;
  const digits = ((bits & 0x7fffff) * 2).toString(16).padStart(6, "0").replace(/0+$/, "");
  if (exponent === 255) return digits ? "nan" : `${sign}inf`;
  if (exponent === 0 && !digits) return `${sign}0x0p+0`;
  const power = Math.max(exponent, 1) - 127;
  return `${sign}0x${exponent ? 1 : 0}${digits && `.${digits}`}p${power < 0 ? "" : "+"}${power}`;
}

/** A float32 in the fewest decimals that give its bits again. */
export function decimal(value) {
  for (let digits = 1; digits < 10; digits++) {
    const text = Number(value).toPrecision(digits);
    if (bitsOf(Number(text)) === bitsOf(value)) return String(Number(text));
  }
  return String(value);
}

/** An integer with a true minus and commas. */
export function whole(value) {
  const digits = String(Math.abs(value)).replace(/\B(?=(\d{3})+(?!\d))/g, ",");
  return value < 0 ? `−${digits}` : digits;
}

/** Two's complement in groups of four bits. */
export function binary(value, bits) {
  const width = Math.ceil(bits / 4) * 4;
  const text = (value >>> 0).toString(2).padStart(32, "0").slice(-width);
  return text.replace(/(....)(?=.)/g, "$1 ");
}

export const hex32 = (bits) => `0x${bits.toString(16).padStart(8, "0")}`;
