// Numbers as texts, in the same form as Python gives them, and texts as numbers.

const NAMES = { NaN: NaN, Infinity: Infinity, "-Infinity": -Infinity };

// A number to some digits; an integer or a truth value is written in full.
export function numberText(number, kind, digits = 6) {
  if (kind === "b") return number ? "true" : "false";
  if (kind === "i" || !Number.isFinite(number)) return String(number);
  const size = Math.abs(number);
  if (size >= 10 ** digits && size < 1e9) return String(roundEven(number));
  const [mantissa, exponent] = rounded(size, digits);
  const sign = number < 0 ? "-" : "";
  if (exponent >= -4 && exponent < digits) return sign + shortened(size === 0 ? "0" : fixed(mantissa, exponent));
  const power = String(Math.abs(exponent)).padStart(2, "0");
  return `${sign}${shortened(`${mantissa[0]}.${mantissa.slice(1)}`)}e${exponent < 0 ? "-" : "+"}${power}`;
}

// The digits of a number and the power of ten of the first one; a number halfway between two goes to the even one.
function rounded(size, digits) {
  const [long, power] = size.toExponential(60).split("e");
  const all = long.replace(".", "");
  const isTie = /^50*$/.test(all.slice(digits)) && Number(all[digits - 1]) % 2 === 0;
  if (isTie) return [all.slice(0, digits), Number(power)];
  const [short, exponent] = size.toExponential(digits - 1).split("e");
  return [short.replace(".", ""), Number(exponent)];
}

function fixed(mantissa, exponent) {
  if (exponent < 0) return `0.${"0".repeat(-exponent - 1)}${mantissa}`;
  return `${mantissa.slice(0, exponent + 1)}.${mantissa.slice(exponent + 1)}`;
}

const shortened = (text) => (text.includes(".") ? text.replace(/\.0*$|0+$/, "") : text);

export function roundEven(number) {
  const below = Math.floor(number);
  const rest = number - below;
  return rest < 0.5 || (rest === 0.5 && below % 2 === 0) ? below : below + 1;
}

// Nested lists of the numbers of an array, `written` one by one.
export function listed({ shape, data }, written) {
  const size = shape.reduce((product, length) => product * length, 1);
  const part = (axis, start, count) => {
    if (axis === shape.length) return written(data[start]);
    const inner = count / shape[axis] || 0;
    return `[${Array.from({ length: shape[axis] }, (_, index) => part(axis + 1, start + index * inner, inner)).join(", ")}]`;
  };
  return part(0, 0, size);
}

// All numbers in full, as they can be edited.
export function editable(array) {
  return listed(array, (number) => (array.kind === "b" ? numberText(number, "b") : String(number)));
}

// The numbers that a text means for an array of this shape and kind.
export function parsed(text, { shape, kind }) {
  const size = shape.reduce((product, length) => product * length, 1);
  const words = text.replaceAll(/[[\],]/g, " ").split(/\s+/).filter(Boolean);
  if (words.length !== size) {
    throw new Error(`expected ${size === 1 ? "1 number" : `${size} numbers`}: found ${words.length}`);
  }
  return words.map((word) => number(word, kind));
}

function number(word, kind) {
  if (kind === "b" && (word === "true" || word === "false")) return Number(word === "true");
  const value = word in NAMES ? NAMES[word] : Number(word);
  if (Number.isNaN(value) && word !== "NaN") throw new Error(`not a number: ${word}`);
  if (kind === "i" && !Number.isSafeInteger(value)) throw new Error(`not an integer: ${word}`);
  if (kind === "b") throw new Error(`not a truth value: ${word}; use true or false`);
  return value;
}
