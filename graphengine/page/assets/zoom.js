// Moving and zooming: one transform of the whole picture.

import { clamp, one } from "./film.js";
import { layout, rectangle } from "./graph.js";
import { isDown } from "./turn.js";

const picture = one("#picture");
const view = { x: 0, y: 0, scale: 1 };
const READABLE = 0.8; // a picture is not made smaller than this to begin with

let goal = null; // where the picture glides to

const draw = () => one("#view").setAttribute("transform", `translate(${view.x} ${view.y}) scale(${view.scale})`);

const most = () => Math.max(220, innerHeight * 0.62); // the height of the frame

// All of the picture if it can be read like that, else its beginning.
export function fit(least = READABLE) {
  goal = null;
  const { width } = picture.getBoundingClientRect();
  const whole = isDown() ? Math.min(width / layout().width, most() / layout().height) : width / layout().width;
  view.scale = clamp(whole, least, 1.15);
  view.x = Math.max(0, (width - layout().width * view.scale) / 2);
  view.y = 0;
  resize();
}

// The frame is as high as the picture, within limits.
export function resize() {
  const height = clamp(layout().height * view.scale, 120, most());
  picture.style.height = `${Math.round(height)}px`;
  picture.style.touchAction = layout().height * view.scale > height + 2 && isDown() ? "none" : "pan-y pinch-zoom";
  draw();
}

export function zoom(factor, x = picture.clientWidth / 2, y = picture.clientHeight / 2) {
  goal = null;
  const scale = clamp(view.scale * factor, 0.05, 4);
  view.x = x - ((x - view.x) * scale) / view.scale;
  view.y = y - ((y - view.y) * scale) / view.scale;
  view.scale = scale;
  draw();
}

// Move as little as it takes to see an item.
export function reveal(place) {
  if (!place) return;
  const { x, y, width, height } = rectangle(place);
  const frame = picture.getBoundingClientRect();
  const from = goal ?? view;
  glide({
    x: nearer(from.x, x, width, frame.width, layout().width, isDown() ? 24 : 90),
    y: nearer(from.y, y, height, frame.height, layout().height, isDown() ? 60 : 24),
  });
}

// Move there, a quarter of the way at each redraw of the screen; at once for who wants no motion.
function glide(place) {
  const starts = goal === null;
  goal = place;
  const move = () => {
    if (goal === null) return;
    const [x, y] = [goal.x - view.x, goal.y - view.y];
    const part = matchMedia("(prefers-reduced-motion: reduce)").matches || Math.hypot(x, y) < 1 ? 1 : 0.25;
    Object.assign(view, { x: view.x + part * x, y: view.y + part * y });
    if (part === 1) goal = null;
    draw();
    if (goal) requestAnimationFrame(move);
  };
  if (starts) move();
}

function nearer(offset, start, size, room, whole, margin) {
  if (whole * view.scale <= room + 2) return offset;
  const [from, to] = [offset + start * view.scale - margin, offset + (start + size) * view.scale + margin];
  return from < 0 ? offset - from : to > room ? offset - Math.min(to - room, from) : offset;
}

export function listenToPointer() {
  picture.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      const frame = picture.getBoundingClientRect();
      zoom(Math.exp(-event.deltaY / 300), event.clientX - frame.left, event.clientY - frame.top);
    },
    { passive: false },
  );
  let dragged = false; // a drag that ends on an item does not choose it
  picture.addEventListener("click", (event) => dragged && event.stopPropagation(), { capture: true });
  picture.addEventListener("pointerdown", (event) => {
    const from = { x: event.clientX - view.x, y: event.clientY - view.y };
    dragged = false;
    goal = null;
    const move = (moved) => {
      if (moved.pointerId !== event.pointerId) return;
      dragged ||= Math.hypot(moved.clientX - event.clientX, moved.clientY - event.clientY) > 4;
      [view.x, view.y] = [moved.clientX - from.x, moved.clientY - from.y];
      draw();
    };
    addEventListener("pointermove", move);
    for (const end of ["pointerup", "pointercancel"]) {
      addEventListener(end, () => removeEventListener("pointermove", move), { once: true });
    }
  });
  addEventListener("resize", resize);
}
