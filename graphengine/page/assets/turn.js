// On a narrow screen the graph is laid out from top to bottom. All places are computed along the flow (x, width, left)
// and across it (y, height, middle); only here they become those of the screen.

import { film } from "./film.js";

const narrow = matchMedia("(max-width: 599.98px)");

export const isDown = () => narrow.matches;
export const onTurn = (act) => narrow.addEventListener("change", act);
export const geometryOf = (number) => film[isDown() ? "down" : "panels"][number];

export const point = (along, across) => (isDown() ? `${across} ${along}` : `${along} ${across}`);
export const level = (along) => `${isDown() ? "V" : "H"}${along}`;
export const sized = ({ width, height }) => (isDown() ? { width: height, height: width } : { width, height });

// Move the drawn shape, whose places are those of a picture from left to right, to its place, in its size.
export function settle(element, shape, [, , x, y, width]) {
  const center = x + width / 2;
  const size = sized(shape);
  const [toX, toY] = isDown()
    ? [shape.middle, shape.left + shape.width / 2]
    : [shape.left + shape.width / 2, shape.middle];
  element.setAttribute("transform", `translate(${toX - center} ${toY - y})`);
  const frame = element.querySelector("rect");
  frame?.setAttribute("x", center - size.width / 2);
  frame?.setAttribute("y", y - size.height / 2);
  frame?.setAttribute("width", size.width);
  frame?.setAttribute("height", size.height);
  for (const literal of element.querySelectorAll(".literal")) settleLiteral(literal, center, y, size, shape.pitch);
}

function settleLiteral(literal, center, y, size, pitch) {
  const [path, text] = literal.children;
  literal.dataset.place ??= path.getAttribute("d").match(/ (-?[\d.]+)H/)[1] - y;
  const offset = Number(literal.dataset.place);
  const [left, top] = [center - size.width / 2, y - size.height / 2];
  const across = center + (offset * pitch) / film.pitch;
  path.setAttribute("d", isDown() ? `M${across} ${top - 14}V${top}` : `M${left - 14} ${y + offset}H${left}`);
  text.setAttribute("x", isDown() ? across : left - 18);
  text.setAttribute("y", isDown() ? top - 18 : y + offset + 4);
}
