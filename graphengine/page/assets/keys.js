// The keyboard. Keys that a focused control understands itself are left to it.

import { close } from "./details.js";
import { film, one } from "./film.js";
import { choose, go, now, play, step, stop } from "./player.js";
import { fit, zoom } from "./zoom.js";

const isText = (control) => control.matches("textarea, input:not([type=range])");

export function listenToKeys(foldAll, changeTheme) {
  const keys = {
    ArrowRight: () => (stop(), step(1)),
    ArrowLeft: () => (stop(), step(-1)),
    ArrowDown: () => (stop(), go(now.frame + 1, now.step)),
    ArrowUp: () => (stop(), go(now.frame - 1, now.step)),
    Home: () => choose(0),
    End: () => choose(film.steps.length),
    " ": () => play(true),
    p: () => play(false),
    f: foldAll,
    l: () => one("#loops").click(),
    t: changeTheme,
    "+": () => zoom(1.25),
    "-": () => zoom(0.8),
    0: () => fit(0),
    Escape: close,
  };
  document.addEventListener("keydown", (event) => {
    const control = event.target.closest("input, textarea, button, summary");
    const act = keys[event.key];
    const isTheirs = control && (event.key === " " || isText(control) || (control.matches("input") && event.key.length > 1));
    if (!act || event.ctrlKey || event.metaKey || event.altKey || (isTheirs && event.key !== "Escape")) return;
    event.preventDefault();
    act();
  });
}
