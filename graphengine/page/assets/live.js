// The numbers that can be edited: from them the page computes forward, backward and update itself.

import { film, live, one, replaceFrame } from "./film.js";
import { frameOf } from "./filling.js";
import { followed } from "./follow.js";
import { editable, numberText, parsed } from "./numbers.js";
import { missing, run } from "./program.js";

const reason = live.reason ?? (missing.length ? `the page cannot compute ${missing.join(", ")}` : failure());
const fields = [];
const WIDE = 6; // an array of more numbers gets a field of several lines

// The numbers that override those of a frame, by the index of their source, and how many updates the page has taken.
export const edits = { frame: 0, numbers: new Map(), iterations: 0 };

const numbersAt = (index) => edits.numbers.get(index) ?? live.pool[live.given[edits.frame][index]];
const given = () => live.sources.map((_, index) => numbersAt(index));

// What prevents the page from computing the first frame; null for nothing.
function failure() {
  try {
    run(live.given[0].map((place) => live.pool[place]));
    return null;
  } catch (error) {
    return error.message;
  }
}

export function startLive(shown) {
  one("#unedited").hidden = reason === null;
  one("#unedited").textContent = `The numbers on this page cannot be edited: ${reason}.`;
  one("#editor").hidden = reason !== null;
  if (reason !== null) return;
  live.sources.forEach(([name, role, shape, kind], index) => {
    if (role !== "state" && role !== "iteration") fields.push(field({ name, role, shape, kind, index }, shown));
  });
  one("#fields").replaceChildren(...fields.map(({ row }) => row));
  one("#take").hidden = !live.carried.length;
  one("#take").addEventListener("click", () => take(shown));
  one("#reset").addEventListener("click", () => (recorded(edits.frame), shown()));
  refill();
}

function field({ name, role, shape, kind, index }, shown) {
  const row = document.createElement("div");
  const title = document.createElement("label");
  const entry = document.createElement(shape.reduce((a, b) => a * b, 1) > WIDE ? "textarea" : "input");
  title.textContent = role === "learning_rate" ? "learning rate" : name;
  title.htmlFor = entry.id = `field${index}`;
  Object.assign(entry, { autocomplete: "off", spellcheck: false });
  entry.addEventListener("input", () => edit({ entry, title, shape, kind, index }, shown));
  row.className = role;
  row.append(title, entry);
  return { row, entry, shape, kind, index };
}

function edit({ entry, title, shape, kind, index }, shown) {
  const before = edits.numbers.get(index);
  try {
    edits.numbers.set(index, parsed(entry.value, { shape, kind }));
    compute();
    complain("");
    entry.removeAttribute("aria-invalid");
    shown();
  } catch (error) {
    before === undefined ? edits.numbers.delete(index) : edits.numbers.set(index, before);
    entry.setAttribute("aria-invalid", "true");
    complain(`${title.textContent}: ${error.message}`);
  }
}

const complain = (text) => (one("#fault").textContent = text);

// Compute the frame that is shown from the numbers of the film and those that were edits.numbers.
function compute() {
  const base = film.frames[edits.frame];
  const rate = live.sources.findIndex(([, role]) => role === "learning_rate");
  const values = run(given());
  const iteration = base.iteration && base.iteration + edits.iterations;
  replaceFrame(
    frameOf(values, {
      ...base,
      iteration,
      marks: followed(base.marks, { values, given: given(), iteration }),
      rate: rate < 0 ? base.rate : numberText(Number(numbersAt(rate)[0])),
      isEdited: true,
    }),
  );
  return values;
}

// Take what the update gives, and compute the next iteration from it, on the same inputs.
function take(shown) {
  const values = compute();
  for (const [index, number] of live.carried) edits.numbers.set(index, [...values[number].data]);
  const counter = live.sources.findIndex(([, role]) => role === "iteration");
  if (counter >= 0) edits.numbers.set(counter, [Number(numbersAt(counter)[0]) + 1]);
  edits.iterations += 1;
  compute();
  refill();
  shown();
}

// Go back to what the film has.
export function recorded(number) {
  edits.frame = number;
  edits.numbers = new Map();
  edits.iterations = 0;
  replaceFrame(null);
  refill();
}

function refill() {
  complain("");
  for (const { entry, shape, kind, index } of fields) {
    entry.removeAttribute("aria-invalid");
    entry.value = editable({ shape, kind, data: [...numbersAt(index)].map(Number) });
  }
}
