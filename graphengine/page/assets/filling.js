// Texts and labels of what the page has computed: the holes in the texts are filled with numbers.

import { total } from "./arrays.js";
import { live } from "./film.js";
import { listed, numberText } from "./numbers.js";

const LABEL = 11; // a label has at most this many characters
const WHOLE = 8; // an array of more numbers is shown by its mean

// A frame like those of the film, of values that the page has computed.
export function frameOf(values, frame) {
  return {
    ...frame,
    texts: live.texts.map((parts) => filled(parts, values).split("\n").map(withoutRepeats).join("\n")),
    values: live.values.map((panel) => panel.map((number) => label(values[number]))),
    gradients: live.gradients.map((panel) => panel.map((number) => label(values[number]))),
  };
}

function filled(parts, values) {
  return parts.map((part) => (typeof part === "string" ? part : hole(part, values))).join("");
}

function hole([value, part, isFactor], values) {
  if (value === "why") return reason(live.reasons[part], values);
  const { kind, data } = values[value];
  if (typeof part === "string") return numberText(summary(data)[part]);
  const text = numberText(data[part], kind);
  return isFactor && text.startsWith("-") ? `(${text})` : text;
}

function summary(data) {
  const pick = (choose) => data.reduce((a, b) => choose(a, b));
  return { min: pick((a, b) => Math.min(a, b)), mean: total(data) / data.length, max: pick((a, b) => Math.max(a, b)) };
}

// An equation without a side that repeats the one before it.
function withoutRepeats(line) {
  const equation = (text) => {
    const sides = text.split(" = ");
    return sides.filter((side, index) => index === 0 || side !== sides[index - 1]).join(" = ");
  };
  return line.split("  →  ").map(equation).join("  →  ");
}

function label(array) {
  if (!array) return "";
  const { shape, kind, data } = array;
  const text = data.length > WHOLE ? "" : listed(array, (number) => numberText(number, kind, 4));
  if (text && text.length <= LABEL) return text;
  return `⌀ ${numberText(data.length ? total(data) / data.length : 0, "f", 4)}`;
}

// Why an update moved a parameter: the sentence that is true of the numbers.
function reason({ old, new: after, gradient, guess, wanted, slope, cases }, values) {
  const number = (value) => (value === undefined ? NaN : values[value].data[0]);
  if (!cases) return counted(values[old].data, values[after].data);
  const found = chosen(number(after) - number(old), number(gradient), number(guess), number(wanted), number(slope));
  return filled(cases[found], values);
}

function chosen(step, gradient, guess, wanted, slope) {
  if (!Number.isFinite(step) || !Number.isFinite(gradient)) return "lost";
  if (step === 0) return gradient === 0 ? "flat" : "still";
  const moves = step > 0 ? "rises" : "falls";
  if (gradient === 0 || step > 0 === gradient > 0) return `${moves} late`;
  const nearer = guess !== wanted && step * slope > 0 === guess < wanted;
  return slope && nearer && !Number.isNaN(guess - wanted) ? `${moves} ${slope > 0 ? "grows" : "shrinks"}` : moves;
}

function counted(before, after) {
  const steps = [...after].map((number, index) => Math.sign(number - before[index]));
  const words = { rise: 1, fall: -1, stay: 0 };
  const counts = Object.entries(words).map(([word, sign]) => [steps.filter((step) => step === sign).length, word]);
  return counts.filter(([count]) => count).map(([count, word]) => `${count} ${word}${count === 1 ? "s" : ""}`).join(", ");
}
