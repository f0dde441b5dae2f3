// The description of one item. All of it is set as text, never as markup.

import { film, frameAt, one } from "./film.js";

const panel = one("#details");
let chosen = null;
let opener = null;

export function describe(key, frame) {
  const item = film.items[key];
  if (!item) return;
  if (chosen === null) opener = document.activeElement;
  chosen = key;
  one("h2", panel).textContent = item.name;
  one("#about").textContent = item.about ?? "";
  one("pre", panel).textContent = item.json ?? "";
  const { kind, type, formula, place } = item;
  const texts = { kind, type, formula, ...happening(key, frame), "in the file": place };
  const rows = Object.entries(texts).filter(([, text]) => text);
  one("dl", panel).replaceChildren(...rows.flatMap(([name, text]) => [element("dt", name), element("dd", text)]));
  panel.hidden = false;
}

export function refresh(frame) {
  if (chosen !== null) describe(chosen, frame);
}

export function close() {
  if (chosen === null) return false;
  chosen = null;
  panel.hidden = true;
  opener?.focus();
  return true;
}

// What the steps of this frame do at the item.
function happening(key, frame) {
  const texts = {};
  film.steps.forEach(([phase, at], index) => {
    if (at === key) texts[phase] = frameAt(frame).texts[index];
  });
  return texts;
}

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}
