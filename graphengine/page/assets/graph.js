// The picture of the graph: which boxes are open, the texts beside the wires, which item is at work.

import { all, film, frameAt, one } from "./film.js";
import { arrange } from "./geometry.js";
import { isDown, onTurn, point, settle, sized } from "./turn.js";

const panels = all("#view > .panel");
const groups = []; // the elements of each panel, once it is open

function group(number) {
  return (groups[number] ??= elementsOf(number));
}

function elementsOf(number) {
  const panel = panels[number];
  const [frame, heading, content] = [".frame", ".heading", "g"].map((name) => one(`:scope > ${name}`, panel));
  const children = [...content.children];
  const found = {
    frame,
    content,
    wires: children
      .filter((element) => element.classList.contains("wire"))
      .map((wire) => ({ wire, path: wire.firstElementChild, labels: [...wire.children].slice(1) })),
    shapes: children.filter((element) => element.classList.contains("shape")),
  };
  film.panels[number].shapes.forEach(([kind, key], index) => {
    if (home.has(key)) button(found.shapes[index], kind, key);
  });
  if (heading) button(heading, "box", parent.get(number).key);
  return found;
}

function button(element, kind, key) {
  element.setAttribute("tabindex", "0");
  element.setAttribute("role", "button");
  element.setAttribute("aria-label", `${kind} ${key.replace(/>$/, "")}`);
  element.dataset.kind = kind;
  element.dataset.key = key;
}

const open = new Set();
const home = new Map(); // for each key the panel it is in and its number there
const parent = new Map(); // for each panel but the first the box it opens from
film.panels.forEach((panel, number) =>
  panel.shapes.forEach(([kind, key, , , , , , inner], index) => {
    if (kind !== "entry" && kind !== "exit") home.set(key, { panel: number, index });
    if (inner !== null) parent.set(inner, { key, panel: number, index });
  }),
);

export const boxes = [...parent.values()].map((box) => box.key);
export const isOpen = (key) => open.has(key);
let arranged = arrange(0, open);
export const layout = () => sized(arranged);
let shown = { frame: 0, step: 0 };

// Open or close boxes, and put everything where it belongs.
export function fold(keys, opening) {
  for (const key of keys) opening ? open.add(key) : open.delete(key);
  arranged = arrange(0, open);
  for (const panel of panels) panel.classList.add("closed");
  place(0, arranged, 0, 0);
  show(shown.frame, shown.step);
}

// Another layout when the screen becomes narrow or wide.
export const onLayout = (act) => onTurn(() => (fold([], false), act()));

function place(number, panel, left, top) {
  const { frame, content, wires, shapes } = group(number);
  panels[number].classList.remove("closed");
  panels[number].setAttribute("transform", `translate(${point(left, top)})`);
  if (number) content.setAttribute("transform", `translate(0 ${film.bar})`);
  one("#view").classList.toggle("down", isDown());
  const size = sized(panel);
  frame?.setAttribute("width", size.width);
  frame?.setAttribute("height", size.height);
  panel.wires.forEach(({ path, along, across }, index) => {
    wires[index].path.setAttribute("d", path);
    wires[index].labels.forEach((label, below) => {
      label.setAttribute("x", isDown() ? across + 5 : along - 7);
      label.setAttribute("y", isDown() ? along - (below ? 5 : 19) : across + (below ? 14 : -5));
    });
  });
  const bar = number ? film.bar : 0; // the title of an open box is above its content in both layouts
  panel.shapes.forEach((shape, index) => {
    settle(shapes[index], shape, film.panels[number].shapes[index]);
    shapes[index].classList.toggle("open", Boolean(shape.inner));
    if (!shape.inner) return;
    const [along, across] = [left + shape.left, top + shape.middle - shape.inner.height / 2];
    place(shape.panel, shape.inner, along + (isDown() ? bar : 0), across + (isDown() ? 0 : bar));
  });
}

// Show one step of one frame: what is known so far, and the item at work.
export function show(frameNumber, stepNumber) {
  shown = { frame: frameNumber, step: stepNumber };
  const frame = frameAt(frameNumber);
  const [phase, at] = film.steps[stepNumber] ?? ["", ""];
  const working = visible(at);
  const end = phase === "update" ? 0 : 1; // the wires out of a parameter, or those into a node
  one("#picture").dataset.phase = phase;
  groups.forEach(({ wires, shapes }, number) => {
    if (panels[number].classList.contains("closed")) return;
    const active = working?.panel === number ? working.index : -1;
    wires.forEach(({ wire, labels }, index) => {
      const [value, gradient] = film.known[number][index];
      labels[0].textContent = value <= stepNumber ? frame.values[number][index] : "";
      labels[1].textContent = gradient <= stepNumber ? frame.gradients[number][index] : "";
      wire.classList.toggle("active", film.panels[number].wires[index][end] === active);
    });
    shapes.forEach((shape, index) => shape.classList.toggle("active", index === active));
  });
}

// The item itself, or the closed box it is in.
export function visible(key) {
  let place = home.get(key);
  for (let panel = place?.panel; panel; panel = parent.get(panel).panel) {
    const box = parent.get(panel);
    if (!open.has(box.key)) place = box;
  }
  return place;
}

// The rectangle of a visible item, in the coordinates of the picture.
export function rectangle(place) {
  const element = group(place.panel).shapes[place.index];
  const view = one("#view").getCTM().inverse();
  const [box, matrix] = [element.getBBox(), view.multiply(element.getCTM())];
  return { x: box.x + matrix.e, y: box.y + matrix.f, width: box.width, height: box.height };
}

// What happens when an item is chosen, by mouse, finger or key.
export function onChoose(choose) {
  const chosen = (event) => event.target.closest("[data-key]")?.dataset;
  const picture = one("#picture");
  picture.addEventListener("click", (event) => {
    const item = chosen(event);
    if (item) choose(item.kind, item.key);
  });
  picture.addEventListener("keydown", (event) => {
    const item = chosen(event);
    if (!item || (event.key !== "Enter" && event.key !== " ")) return;
    event.preventDefault();
    event.stopPropagation();
    choose(item.kind, item.key);
  });
}
