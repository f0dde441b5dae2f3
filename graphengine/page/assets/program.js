// Runs the program of a page: instructions, one kernel op on operands after the other, as a backend gets them.

import { live } from "./film.js";
import { KERNELS } from "./kernels.js";

// The ops that the table lacks.
export const missing = [...new Set((live.code ?? []).map(([op]) => op))].filter((op) => !KERNELS[op]).sort();

// All values that the texts of the page show, from one array of numbers for each source.
export function run(given) {
  const values = live.sources.map(([, , shape, kind], index) => ({ shape, kind, data: Float64Array.from(given[index], Number) }));
  for (const [op, attributes, operands, types] of live.code) {
    const args = operands.map((operand) => (Array.isArray(operand) ? literal(operand[0]) : operand === null ? undefined : values[operand]));
    const found = KERNELS[op](args, attributes, types[0][0]);
    const results = types.length > 1 ? found : [found];
    types.forEach(([shape, kind], index) => values.push({ shape, kind, data: Float64Array.from(results[index]) }));
  }
  return live.filled.map((slot) => values[slot]);
}

const literal = (number) => ({ shape: [], kind: "f", data: [Number(number)] });
