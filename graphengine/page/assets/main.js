// Puts the page together.

import { close, describe } from "./details.js";
import { one } from "./film.js";
import { boxes, fold, isOpen, onChoose, onLayout, visible } from "./graph.js";
import { listenToKeys } from "./keys.js";
import { now, startPlayer } from "./player.js";
import { fit, listenToPointer, resize, reveal, zoom } from "./zoom.js";

function foldAll() {
  fold(boxes, !boxes.some(isOpen));
  nameFold();
  fit();
}

function nameFold() {
  one("#fold").hidden = !boxes.length;
  one("#fold").textContent = boxes.some(isOpen) ? "fold" : "unfold";
}

function choose(kind, key) {
  if (kind !== "box") return describe(key, now.frame);
  fold([key], !isOpen(key));
  nameFold();
  resize();
  reveal(visible(key));
}

function changeTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
}

fold([], false);
nameFold();
fit();
startPlayer();
onChoose(choose);
onLayout(fit);
listenToPointer();
listenToKeys(foldAll, changeTheme);
for (const [name, act] of Object.entries({
  "#theme": changeTheme,
  "#fold": foldAll,
  "#in": () => zoom(1.25),
  "#out": () => zoom(0.8),
  "#fit": () => fit(0),
  "#close": close,
})) {
  one(name).addEventListener("click", act);
}
