// The places of everything while some boxes are open: an open box pushes what is right of it to the right and what is
// below it down. The order of things never changes.

import { film } from "./film.js";
import { geometryOf, isDown, level, point } from "./turn.js";

const shapeOf = ([kind, key, x, y, width, height, right, panel, pitch = film.pitch]) => {
  return { kind, key, x, y, width, height, right, panel, pitch };
};

export function arrange(number, open) {
  const panel = geometryOf(number);
  const shapes = panel.shapes.map(shapeOf);
  const wider = new Map();
  const taller = new Map();
  for (const shape of shapes) {
    if (shape.panel === null || !open.has(shape.key)) continue;
    shape.inner = arrange(shape.panel, open);
    raise(wider, shape.x, shape.inner.width - shape.width);
    raise(taller, shape.y, shape.inner.height - shape.height);
  }
  const across = (x) => x + total(wider, (column) => column < x);
  const down = (y) => y + total(taller, (row) => row < y) + (taller.get(y) ?? 0) / 2;
  const bar = number ? film.bar : 0;
  for (const shape of shapes) {
    shape.left = across(shape.x);
    shape.middle = down(shape.y);
    if (shape.inner) shape.middle += (shape.inner.height - shape.height - taller.get(shape.y)) / 2;
    shape.end = across(shape.right);
  }
  return {
    shapes,
    wires: panel.wires.map((wire) => route(wire, shapes, across, down)),
    width: across(panel.w) + (isDown() ? bar : 0),
    height: down(panel.h) + (isDown() ? 0 : bar),
  };
}

const raise = (map, key, number) => map.set(key, Math.max(map.get(key) ?? 0, number));

const total = (map, chosen) => [...map].reduce((sum, [key, number]) => sum + (chosen(key) ? number : 0), 0);

// A wire: from its source through its bends to its target; in an open box it continues to the place inside.
function route([from, to, value, startY, endY, tail, bends], shapes, across, down) {
  const [source, target] = [shapes[from], shapes[to]];
  const start = port(source, `${value}>`) ?? { x: source.left + source.width, y: source.middle + startY - source.y };
  const end = port(target, `>${value}`) ?? { x: target.left, y: target.middle + endY - target.y };
  const points = [{ ...start, right: source.end }];
  for (const [x, y, right, room] of bends) points.push({ x: across(x), y: down(y), right: across(right), tail: room });
  points.push({ ...end, level: target.left - tail });
  return { path: path(points), along: target.left, across: end.y };
}

// The place where a value enters or leaves an open box.
function port(box, key) {
  const inside = box.inner?.shapes.find((shape) => shape.key === key);
  if (!inside) return undefined;
  const left = box.left + (isDown() ? film.bar : 0);
  const top = box.middle - box.inner.height / 2 + (isDown() ? 0 : film.bar);
  return { x: left + inside.left + (key.endsWith(">") ? inside.width : 0), y: top + inside.middle };
}

function path(points) {
  let [{ x, y, right }, ...rest] = points;
  let drawn = `M${point(x, y)}${level(right)}`;
  for (const stop of rest) {
    const flat = stop.level ?? stop.x - stop.tail;
    const middle = (right + flat) / 2;
    if (stop.y !== y) drawn += `C${point(middle, y)} ${point(middle, stop.y)} ${point(flat, stop.y)}`;
    drawn += level(stop.level === undefined ? stop.right : stop.x);
    ({ y, right } = stop);
  }
  return drawn;
}
