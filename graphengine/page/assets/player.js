// Which frame and which step is shown, and the two ways to play: step by step, or iteration by iteration.

import { clamp, film, frameAt, one } from "./film.js";
import { mark } from "./gauges.js";
import { refresh } from "./details.js";
import { show, visible } from "./graph.js";
import { edits, recorded, startLive } from "./live.js";
import { before, isHidden, markTurn, startLoops } from "./loops.js";
import { reveal } from "./zoom.js";

const [stepSlider, frameSlider] = [one("#step"), one("#frame")];
const steps = film.steps.length;
export const now = { frame: 0, step: 0 };
let timer = null;
let isUnfolded = false;
const FEW = 5; // so many lines of a step are shown at once

export function go(frame, step) {
  now.frame = clamp(frame, 0, film.frames.length - 1);
  if (now.frame !== edits.frame) recorded(now.frame);
  now.step = clamp(step, 0, Math.max(0, steps - 1));
  while (isHidden(now.step)) now.step += 1; // the last step of a loop is never hidden
  stepSlider.value = now.step;
  frameSlider.value = now.frame;
  show(now.frame, now.step);
  mark(now.frame);
  refresh(now.frame);
  markTurn(now.step);
  announce();
}

function announce() {
  const frame = frameAt(now.frame);
  const [phase, at] = film.steps[now.step] ?? ["", ""];
  const trained = frame.iteration > 0;
  one("#phase").textContent = phase;
  one("#phase").className = phase;
  const count = frame.isEdited ? `iteration ${frame.iteration}` : `iteration ${frame.iteration} of ${film.last}`;
  one("#count").textContent = trained ? count : "";
  one("#edited").hidden = !frame.isEdited;
  one("#recorded").hidden = !frame.isEdited || !film.frames[0].marks.length;
  one("#epoch").textContent = trained ? `epoch ${frame.epoch}${frame.rate ? `, learning rate ${frame.rate}` : ""}` : "";
  const texts = [before(now.step), frame.texts[now.step] ?? ""].filter((text) => text);
  const lines = texts.join("\n").split("\n").map((text) => written("p", text));
  const isLong = phase === "update" && lines.length > FEW;
  isUnfolded = document.querySelector("#say details")?.open ?? isUnfolded; // "toggle" would come a moment too late
  one("#say").replaceChildren(...(isLong ? [lines[0], folded(lines.slice(1))] : lines));
  stepSlider.setAttribute("aria-valuetext", `${phase} ${at}`);
  frameSlider.setAttribute("aria-valuetext", `iteration ${frame.iteration}`);
}

function written(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

// The lines of a long update rule below a line that opens them, which stays open from step to step.
function folded(lines) {
  const made = document.createElement("details");
  made.open = isUnfolded;
  made.append(written("summary", `${lines.length} lines of the update rule`), ...lines);
  return made;
}

export function step(by) {
  let next = now.step + by;
  while (isHidden(next)) next += by;
  if (next >= steps && now.frame < film.frames.length - 1) go(now.frame + 1, 0);
  else if (next < 0 && now.frame > 0) go(now.frame - 1, steps - 1);
  else go(now.frame, next);
  reveal(visible(film.steps[now.step]?.[1]));
}

// Show a step and the item at which it works.
export function choose(number) {
  stop();
  go(now.frame, number);
  reveal(visible(film.steps[now.step]?.[1]));
}

const atEnd = (stepping) => now.frame === film.frames.length - 1 && (!stepping || now.step === steps - 1);

// Start or stop; from the end it starts again.
export function play(stepping) {
  if (stop(stepping)) return;
  if (atEnd(stepping)) go(0, stepping ? 0 : now.step);
  const tick = () => {
    stepping ? step(1) : go(now.frame + 1, now.step);
    if (atEnd(stepping)) stop();
  };
  const pause = stepping ? 900 : clamp(8000 / film.frames.length, 60, 500);
  timer = { stepping };
  everyPause(pause, tick, timer);
  playButton(stepping).textContent = "⏸";
}

// Call `tick` in step with the screen, as long as the timer is the one that runs; a late call delays those after it.
function everyPause(pause, tick, own) {
  let due = performance.now() + pause;
  const check = (time) => {
    if (timer !== own) return;
    if (time >= due) {
      due = Math.max(due + pause, time + pause / 2);
      tick();
    }
    requestAnimationFrame(check);
  };
  requestAnimationFrame(check);
}

// Gives whether what is asked for was playing.
export function stop(stepping) {
  if (timer === null) return false;
  const was = timer.stepping;
  timer = null;
  playButton(was).textContent = "▶";
  return was === stepping;
}

const playButton = (stepping) => one(stepping ? "#play" : "#run");

export function startPlayer() {
  stepSlider.max = Math.max(0, steps - 1);
  frameSlider.max = film.frames.length - 1;
  one("#iterations").hidden = film.frames.length < 2;
  one("#end").hidden = !film.end;
  one("#end").textContent = film.end ?? "";
  stepSlider.addEventListener("input", () => choose(Number(stepSlider.value)));
  frameSlider.addEventListener("input", () => {
    stop();
    go(Number(frameSlider.value), now.step);
  });
  one("#play").addEventListener("click", () => play(true));
  one("#run").addEventListener("click", () => play(false));
  startLoops(() => now.step, choose, () => choose(now.step));
  startLive(() => (stop(), go(now.frame, steps - 1)));
  go(0, 0);
}
