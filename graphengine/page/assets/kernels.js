// The kernel ops: for each a function of operands (arrays), attributes and the shape of the result, which gives the
// numbers of the result. docs/backends.md lists what training steps are made of.

import { along, beside, groups, mapped, normal, sizeOf, spread, stridesOf, total, transposed, walk } from "./arrays.js";
import { roundEven } from "./numbers.js";

const each = (apply) => (args, _, shape) => mapped(apply, args, shape);
const over = (reduce) => ([x], { axis }) => groups(x, axis).map(reduce);
const same = ([x]) => x.data;
const full = (number) => (_, __, shape) => new Float64Array(sizeOf(shape)).fill(number);
const greatest = (numbers) => numbers.reduce((a, b) => Math.max(a, b), -Infinity);
const least = (numbers) => numbers.reduce((a, b) => Math.min(a, b), Infinity);

function power(x, y) {
  if (x === 1 || y === 0) return 1;
  return x === -1 && Math.abs(y) === Infinity ? 1 : x ** y;
}

function modulo(x, y) {
  const rest = x % y;
  return rest !== 0 && rest < 0 !== y < 0 ? rest + y : rest;
}

function norm(numbers, order) {
  const scale = greatest(numbers.map(Math.abs));
  if (order === 1) return total(numbers.map(Math.abs));
  if (!(scale > 0 && scale < Infinity)) return numbers.length ? scale : 0;
  return scale * Math.sqrt(total(numbers.map((number) => (number / scale) ** 2)));
}

const best = (better) => (numbers) => {
  let place = 0;
  numbers.forEach((number, index) => {
    if (better(number, numbers[place]) || (Number.isNaN(number) && !Number.isNaN(numbers[place]))) place = index;
  });
  return place;
};

// The sums that undo broadcasting; a smaller array is broadcast.
function sumTo([x], _, shape) {
  const extra = Math.max(0, x.shape.length - shape.length);
  const own = x.shape.slice(extra);
  const kept = own.map((length, axis) => (shape[shape.length - own.length + axis] === 1 ? 1 : length));
  const found = Array.from({ length: sizeOf(kept) }, () => []);
  const places = spread(kept, x.shape);
  x.data.forEach((number, index) => found[places[index]].push(number));
  return picked(found.map(total), spread(kept, shape));
}

// For each number of the patches of an array where it lies in the array; -1 on the padding.
function patches(shape, { kernel_size: kernel, stride, padding, dilation }) {
  const sizes = shape.slice(2);
  const settings = sizes.map((size, axis) => {
    const [step, apart] = [stride, dilation].map((value) => (Array.isArray(value) ? value[axis] : value));
    const span = (kernel[axis] - 1) * apart + 1;
    const missing = Math.max(0, Math.floor((size - 1) / step) * step + span - size);
    const same = [Math.floor(missing / 2), missing - Math.floor(missing / 2)];
    const own = Array.isArray(padding) ? padding[axis] : padding;
    const [before, after] = own === "same" ? same : own === "valid" ? [0, 0] : [own, own].map((each, end) => (Array.isArray(each) ? each[end] : each));
    return { size, step, apart, before, count: Math.floor((size + before + after - span) / step) + 1 };
  });
  const inner = stridesOf(sizes);
  const [within, begins] = [indices(kernel), indices(settings.map(({ count }) => count))];
  const found = [];
  for (let row = 0; row < shape[0] * shape[1]; row += 1) {
    for (const place of within) {
      for (const patch of begins) {
        const at = settings.map(({ step, apart, before }, axis) => step * patch[axis] + apart * place[axis] - before);
        const isInside = at.every((each, axis) => each >= 0 && each < sizes[axis]);
        found.push(isInside ? at.reduce((sum, each, axis) => sum + each * inner[axis], row * sizeOf(sizes)) : -1);
      }
    }
  }
  return found;
}

// All places of a shape, as lists of indices.
const indices = (shape) =>
  shape.reduce((lists, size) => lists.flatMap((list) => Array.from({ length: size }, (_, index) => [...list, index])), [[]]);

function unfold([x], attributes) {
  const fill = attributes.fill === "-Infinity" ? -Number.MAX_VALUE : attributes.fill;
  return patches(x.shape, attributes).map((place) => (place < 0 ? fill : x.data[place]));
}

function fold([x], attributes, shape) {
  const out = new Float64Array(sizeOf(shape));
  patches(shape, attributes).forEach((place, index) => place >= 0 && (out[place] += x.data[index]));
  return out;
}

// The letters of the axes of each operand and of the result; further axes, "...", are counted from the last one.
function letters(equation, ranks) {
  const [left, right] = equation.replaceAll(" ", "").split("->");
  const most = Math.max(...left.split(",").map((term, index) => ranks[index] - term.replace("...", "").length), 0);
  const expanded = (term, count) => {
    const [before, after] = term.split("...");
    if (after === undefined) return [...before];
    return [...before, ...Array.from({ length: count }, (_, index) => `${count - index}`), ...after];
  };
  const terms = left.split(",").map((term, index) => expanded(term, ranks[index] - term.replace("...", "").length));
  if (right !== undefined) return [terms, expanded(right, most)];
  const all = terms.flat();
  const once = all.filter((letter) => letter > "9" && all.indexOf(letter) === all.lastIndexOf(letter)).sort();
  return [terms, [...Array.from({ length: left.includes("...") ? most : 0 }, (_, index) => `${most - index}`), ...once]];
}

function einsum(args, { equation }, shape) {
  const [terms, result] = letters(equation, args.map((arg) => arg.shape.length));
  const sizes = new Map();
  terms.forEach((term, index) => term.forEach((letter, axis) => sizes.set(letter, Math.max(sizes.get(letter) ?? 1, args[index].shape[axis]))));
  args.forEach(({ shape: own }, index) => terms[index].forEach((letter, axis) => own[axis] === 0 && sizes.set(letter, 0)));
  const order = [...result, ...[...sizes.keys()].filter((letter) => !result.includes(letter))];
  const whole = order.map((letter) => sizes.get(letter));
  const places = args.map(({ shape: own }, index) => {
    const strides = stridesOf(own);
    const step = (letter) => terms[index].reduce((sum, each, axis) => sum + (each === letter && own[axis] !== 1 ? strides[axis] : 0), 0);
    return walk(whole, order.map(step));
  });
  const count = sizeOf(whole.slice(result.length));
  return Array.from({ length: sizeOf(shape) }, (_, index) =>
    total(Array.from({ length: count }, (__, at) => args.reduce((product, { data }, each) => product * data[places[each][index * count + at]], 1))),
  );
}

const picked = (data, places) => Float64Array.from(places, (place) => data[place]);

function matmul([x, y], _, shape) {
  const [a, b] = [x.shape.length === 1 ? [1, ...x.shape] : x.shape, y.shape.length === 1 ? [...y.shape, 1] : y.shape];
  const [rows, inner, columns] = [a.at(-2), a.at(-1), b.at(-1)];
  const stack = shape.slice(0, shape.length - (x.shape.length > 1) - (y.shape.length > 1));
  const [left, right] = [spread(a.slice(0, -2), stack), spread(b.slice(0, -2), stack)];
  const out = new Float64Array(sizeOf(shape));
  const terms = new Float64Array(inner);
  for (let index = 0; index < out.length; index += 1) {
    const [row, column] = [Math.floor(index / columns) % rows, index % columns];
    const at = Math.floor(index / (rows * columns));
    for (let k = 0; k < inner; k += 1) {
      terms[k] = x.data[(left[at] * rows + row) * inner + k] * y.data[(right[at] * inner + k) * columns + column];
    }
    out[index] = total(terms);
  }
  return out;
}

// The places along an axis that a slice takes, as Python counts them.
function sliced({ start, stop, step }, count) {
  const bound = (at, low, high) => Math.min(Math.max(at < 0 ? at + count : at, low), high);
  const [low, high] = step > 0 ? [0, count] : [-1, count - 1];
  const first = start === null ? (step > 0 ? low : high) : bound(start, low, high);
  const end = stop === null ? (step > 0 ? high : low) : bound(stop, low, high);
  const places = [];
  for (let at = first; step > 0 ? at < end : at > end; at += step) places.push(at);
  return places;
}

// The elements at some places along an axis.
function taken(x, axis, places) {
  const view = along(x, axis);
  const out = [];
  for (let i = 0; i < view.before; i += 1) {
    for (const place of places) for (let k = 0; k < view.after; k += 1) out.push(x.data[view.place(i, place, k)]);
  }
  return out;
}

// The places of x that a slice takes, along one axis or several.
function slicedPlaces(x, { start, stop, step, axis }) {
  const one = (value, index) => (Array.isArray(value) ? value[index] : value);
  let view = { shape: [...x.shape], data: x.data.map((_, index) => index) };
  [axis].flat().forEach((each, index) => {
    const at = normal(each, x.shape.length);
    const bounds = { start: one(start, index), stop: one(stop, index), step: one(step, index) };
    const places = sliced(bounds, view.shape[at]);
    view = { shape: view.shape.map((length, each) => (each === at ? places.length : length)), data: taken(view, at, places) };
  });
  return view.data;
}

function within(index, count) {
  if (index < -count || index >= count) throw new RangeError(`index ${index} is out of range for ${count}`);
  return index < 0 ? index + count : index;
}

const placesIn = (indices, count) => [...indices.data].map((index) => within(index, count));
const lengthAlong = (x, axis) => x.shape[normal(axis, x.shape.length)];

// For each index along an axis the place in x that it means.
function matched(x, indices, axis) {
  const [view, own] = [along(x, axis), along(indices, axis)];
  const places = new Int32Array(indices.data.length);
  beside(own, (i, k) => {
    for (let j = 0; j < own.count; j += 1) {
      const at = own.place(i, j, k);
      places[at] = view.place(i, within(indices.data[at], view.count), k);
    }
  });
  return places;
}

function scattered(x, places, updates) {
  const out = Float64Array.from(x.data);
  places.forEach((place, index) => (out[place] += updates[index]));
  return out;
}

function joined(arrays, axis) {
  const views = arrays.map((array) => along(array, axis));
  const out = [];
  for (let i = 0; i < views[0].before; i += 1) {
    views.forEach(({ count, after }, number) => {
      const start = i * count * after;
      for (let at = start; at < start + count * after; at += 1) out.push(arrays[number].data[at]);
    });
  }
  return out;
}

function stacked(arrays, { axis }, shape) {
  const at = normal(axis, shape.length);
  const raised = ({ shape: own, data }) => ({ shape: [...own.slice(0, at), 1, ...own.slice(at)], data });
  return joined(arrays.map(raised), at);
}

function split([x], { axis, indices_or_sections: cuts }) {
  const count = lengthAlong(x, axis);
  const ends = Array.isArray(cuts) ? [...cuts, count] : Array.from({ length: cuts }, (_, part) => ((part + 1) * count) / cuts);
  return ends.map((end, part) => taken(x, axis, sliced({ start: part ? ends[part - 1] : 0, stop: end, step: 1 }, count)));
}

function running([x], { axis, exclusive, reverse }) {
  const view = along(x, axis);
  const out = new Float64Array(x.data.length);
  beside(view, (i, k) => {
    let sum = 0;
    for (let step = 0; step < view.count; step += 1) {
      const at = view.place(i, reverse ? view.count - 1 - step : step, k);
      out[at] = exclusive ? sum : sum + x.data[at];
      sum += x.data[at];
    }
  });
  return out;
}

const triangle = (keeps) => ([x], { k }) => {
  const [rows, columns] = x.shape.slice(-2);
  return x.data.map((number, index) => (keeps((index % columns) - (Math.floor(index / columns) % rows) - k) ? number : 0));
};

function flipped([x], { axis }) {
  const axes = axis === null ? [...x.shape.keys()] : [axis].flat();
  return axes.reduce((data, each) => taken({ shape: x.shape, data }, each, sliced({ start: null, stop: null, step: -1 }, lengthAlong(x, each))), x.data);
}

const cast = ([x], { dtype }) => x.data.map((number) => (dtype === "bool" ? Number(number !== 0) : dtype.startsWith("int") ? Math.trunc(number) : number));

const oneHot = ([targets], { depth }) => {
  const out = new Float64Array(targets.data.length * depth);
  placesIn(targets, depth).forEach((place, index) => (out[index * depth + place] = 1));
  return out;
};

export const KERNELS = {
  constant: (_, { value }) => [value].flat(Infinity).map(Number),
  zeros_like: full(0),
  ones_like: full(1),
  shape: ([x]) => x.shape,
  size: ([x], { axis }) => [axis === null ? x.data.length : lengthAlong(x, axis)],
  abs: each(Math.abs),
  add: each((x, y) => x + y),
  sub: each((x, y) => x - y),
  mul: each((x, y) => x * y),
  div: each((x, y) => x / y),
  neg: each((x) => -x),
  pow: each(power),
  mod: each(modulo),
  hypot: each((x, y) => Math.hypot(x, y)),
  maximum: each((x, y) => Math.max(x, y)),
  minimum: each((x, y) => Math.min(x, y)),
  square: each((x) => x * x),
  reciprocal: each((x) => 1 / x),
  rsqrt: each((x) => 1 / Math.sqrt(x)),
  round: each(roundEven),
  log2: each(Math.log2),
  arctan2: each(Math.atan2),
  ...Object.fromEntries(
    ["sign", "sqrt", "floor", "ceil", "exp", "expm1", "log", "log1p", "log10", "sin", "cos", "tan", "sinh", "cosh", "tanh"].map(
      (name) => [name, each((x) => Math[name](x))],
    ),
  ),
  ...Object.fromEntries(
    ["sin", "cos", "tan", "sinh", "cosh", "tanh"].map((name) => [`arc${name}`, each((x) => Math[`a${name}`](x))]),
  ),
  equal: each((x, y) => Number(x === y)),
  not_equal: each((x, y) => Number(x !== y)),
  greater: each((x, y) => Number(x > y)),
  greater_equal: each((x, y) => Number(x >= y)),
  less: each((x, y) => Number(x < y)),
  less_equal: each((x, y) => Number(x <= y)),
  logical_and: each((x, y) => Number(Boolean(x && y))),
  logical_or: each((x, y) => Number(Boolean(x || y))),
  logical_not: each((x) => Number(!x)),
  isfinite: each((x) => Number(Number.isFinite(x))),
  where: each((condition, x, y) => (condition ? x : y)),
  sum: over(total),
  max: over(greatest),
  min: over(least),
  prod: over((numbers) => numbers.reduce((a, b) => a * b, 1)),
  any: over((numbers) => Number(numbers.some(Boolean))),
  all: over((numbers) => Number(numbers.every(Boolean))),
  argmax: over(best((x, y) => x > y)),
  argmin: over(best((x, y) => x < y)),
  norm: ([x], { axis, ord }) => groups(x, axis).map((numbers) => norm(numbers, ord)),
  cumsum: running,
  sum_to: sumTo,
  broadcast_to: sumTo,
  reshape: same,
  flatten: same,
  expand_dims: same,
  squeeze: same,
  stop_gradient: same,
  cast,
  transpose: ([x], { axes }) => picked(x.data, transposed(x.shape, axes?.map((axis) => normal(axis, x.shape.length)) ?? [...x.shape.keys()].reverse())),
  flip: flipped,
  matmul,
  vecdot: ([x, y], _, shape) => {
    const wide = [...shape, x.shape.at(-1)];
    return groups({ shape: wide, data: mapped((a, b) => a * b, [x, y], wide) }, -1).map(total);
  },
  concat: (arrays, { axis }) => joined(arrays, axis),
  stack: stacked,
  split,
  slice: ([x], attributes) => picked(x.data, slicedPlaces(x, attributes)),
  slice_add: ([x, updates], attributes) => scattered(x, slicedPlaces(x, attributes), updates.data),
  gather: ([x, indices], { axis }) => taken(x, axis, placesIn(indices, lengthAlong(x, axis))),
  index_add: ([x, indices, updates], { axis }) => {
    const numbers = { shape: x.shape, data: x.data.map((_, index) => index) };
    return scattered(x, taken(numbers, axis, placesIn(indices, lengthAlong(x, axis))), updates.data);
  },
  take_along_axis: ([x, indices], { axis }) => picked(x.data, matched(x, indices, axis)),
  scatter_add: ([x, indices, updates], { axis }) => scattered(x, matched(x, indices, axis), updates.data),
  one_hot: oneHot,
  unfold,
  fold,
  einsum,
  tril: triangle((offset) => offset <= 0),
  triu: triangle((offset) => offset >= 0),
};
