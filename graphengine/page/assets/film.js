// What the page was made with: places, steps, frames; and the frame that the page itself has computed, if it has.

export const film = JSON.parse(document.getElementById("film").textContent);
export const { live } = film;

export const one = (selector, within = document) => within.querySelector(selector);
export const all = (selector, within = document) => [...within.querySelectorAll(selector)];

export const clamp = (number, low, high) => Math.min(Math.max(number, low), high);

let computed = null;

// Show a computed frame, whatever the number of the frame; null for those of the film.
export const replaceFrame = (frame) => (computed = frame);
export const frameAt = (number) => computed ?? film.frames[number];
