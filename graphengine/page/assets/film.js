// What the page was made with: places, steps, frames. All of it was computed beforehand; here it is only read.

export const film = JSON.parse(document.getElementById("film").textContent);

export const one = (selector, within = document) => within.querySelector(selector);
export const all = (selector, within = document) => [...within.querySelectorAll(selector)];

export const clamp = (number, low, high) => Math.min(Math.max(number, low), high);
