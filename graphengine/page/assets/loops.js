// The steps of loops: all of them are played, or only the first and the last; and one is chosen by its number.

import { clamp, film, one } from "./film.js";

const [bar, turn, button] = [one("#loop"), one("#turn"), one("#loops")];
const isOfLoop = (index) => film.steps[index]?.[3] ?? false;
const ofLoops = film.steps.flatMap((_, index) => (isOfLoop(index) ? [index] : []));
let isFolded = false;

// Whether a step is passed over.
export const isHidden = (index) => isFolded && film.steps[index]?.[2] === null;

// What a page with folded loops says before a step: how many there are between it and the first.
export const before = (index) => (isFolded && film.steps[index]?.[2]) || "";

export function foldLoops() {
  isFolded = !isFolded;
  button.textContent = isFolded ? "unfold the loop" : "fold the loop";
}

// The first and the last number of the steps around one that belong to the same run of a loop: the next run, if any.
function run(index) {
  const inside = ofLoops.find((each) => each >= index) ?? ofLoops.at(-1);
  const [phase, at] = film.steps[inside];
  const isSame = (each) => isOfLoop(each) && film.steps[each][0] === phase && film.steps[each][1] === at;
  let [first, last] = [inside, inside];
  while (isSame(first - 1)) first -= 1;
  while (isSame(last + 1)) last += 1;
  return [first, last];
}

// Let the control say where a step is within its loop.
export function markTurn(index) {
  if (!ofLoops.length) return;
  const [first, last] = run(index);
  turn.max = last - first;
  turn.value = clamp(index - first, 0, last - first);
  turn.setAttribute("aria-valuetext", `${film.steps[first][1]}, ${Number(turn.value) + 1} of ${last - first + 1}`);
}

// `choose` goes to a step, and `refresh` shows the one at work again.
export function startLoops(current, choose, refresh) {
  bar.hidden = !ofLoops.length;
  button.hidden = !film.steps.some(([, , folded]) => folded === null);
  turn.addEventListener("input", () => choose(run(current())[0] + Number(turn.value)));
  button.addEventListener("click", () => (foldLoops(), refresh()));
}
