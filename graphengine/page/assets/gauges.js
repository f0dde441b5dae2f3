// The marks in the charts.

import { all, frameAt, one } from "./film.js";

const gauges = all(".gauge");

export function mark(frame) {
  frameAt(frame).marks.forEach(({ x, y, d, p, t, o }, index) => {
    const gauge = gauges[index];
    one(".upright", gauge)?.setAttribute("transform", `translate(${x} 0)`);
    one(".mark", gauge)?.setAttribute("transform", `translate(${x} ${y})`);
    one(".drawn", gauge)?.setAttribute("d", d);
    p?.forEach((points, series) => all(".points", gauge)[series].setAttribute("d", points));
    t?.forEach((text, number) => (all(".count", gauge)[number].textContent = text));
    o?.forEach((opacity, number) => all(".cell", gauge)[number].setAttribute("fill-opacity", opacity));
  });
}
