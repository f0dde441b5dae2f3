// The marks of charts that follow the edited numbers; all other marks stay those of the recorded training.

import { clamp, live } from "./film.js";
import { run } from "./program.js";

// The marks of a frame, moved to what the page has computed.
export function followed(marks, { values, given, iteration }) {
  return marks.map((mark, index) => {
    const chart = live.charts[index];
    return chart ? { ...mark, ...moved(chart, values, given, iteration) } : mark;
  });
}

function moved(chart, values, given, iteration) {
  if (chart.grid) return { d: curve(chart, given) };
  const [x, y] = chart.numbers?.map(([source, place]) => Number(given[source][place])) ?? [iteration, values[chart.value].data[0]];
  return { x: pixel(chart.x, x), y: pixel(chart.y, y ?? between(chart.heights, chart.ends, x)) };
}

// The output over the grid; as many points are computed at once as the input has rows.
function curve({ x, y, grid, input, value, outside }, given) {
  const rows = given[input].length;
  const points = [];
  for (let start = 0; start < grid.length; start += rows) {
    const part = given[input].map((_, row) => grid[Math.min(start + row, grid.length - 1)]);
    const { data } = run(given.map((numbers, source) => (source === input ? part : numbers)))[value];
    points.push(...grid.slice(start, start + rows).map((at, row) => [at, data[row]]));
  }
  const pairs = points.filter(([, value]) => !Number.isNaN(value)).map(([at, value]) => `${pixel(x, at)} ${pixel(y, value, outside)}`);
  return pairs.length ? `M${pairs.join("L")}` : "";
}

// The pixel of a number; one farther outside the scale is put at this distance.
function pixel([low, high, start, stop, isLogarithmic], number, outside = 0.02) {
  const flat = isLogarithmic ? (each) => (each > 0 ? Math.log10(each) : -Infinity) : (each) => each;
  const share = (flat(number) - flat(low)) / (flat(high) - flat(low));
  return Math.round(10 * (start + (Number.isNaN(share) ? 1 + outside : clamp(share, -outside, 1 + outside)) * (stop - start))) / 10;
}

// A height between those that are known at equal distances.
function between(heights, [low, high], number) {
  const at = clamp(((number - low) / (high - low)) * (heights.length - 1), 0, heights.length - 1);
  const left = Math.min(Math.floor(at), heights.length - 2);
  return Number(heights[left]) + (at - left) * (Number(heights[left + 1]) - Number(heights[left]));
}
