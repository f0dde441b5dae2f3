// Arrays as {shape, kind, data}: numbers in row-major order; kind is f, i or b.

export const sizeOf = (shape) => shape.reduce((product, length) => product * length, 1);

export const normal = (axis, rank) => (axis < 0 ? axis + rank : axis);

export function stridesOf(shape) {
  const strides = shape.map(() => 1);
  for (let axis = shape.length - 2; axis >= 0; axis -= 1) strides[axis] = strides[axis + 1] * shape[axis + 1];
  return strides;
}

// For each element of a shape where it lies, by a start and a stride for each axis.
export function walk(shape, strides, start = 0) {
  const size = sizeOf(shape);
  const places = new Int32Array(size);
  const at = shape.map(() => 0);
  for (let index = 0, place = start; index < size; index += 1) {
    places[index] = place;
    for (let axis = shape.length - 1; axis >= 0; axis -= 1) {
      at[axis] += 1;
      place += strides[axis];
      if (at[axis] < shape[axis]) break;
      place -= strides[axis] * shape[axis];
      at[axis] = 0;
    }
  }
  return places;
}

const known = new Map();

// For each element of a shape the place of what is broadcast to it.
export function spread(from, shape) {
  const key = `${from}|${shape}`;
  if (!known.has(key)) {
    const extra = shape.length - from.length;
    const own = stridesOf(from);
    known.set(key, walk(shape, shape.map((_, axis) => (axis < extra || from[axis - extra] === 1 ? 0 : own[axis - extra]))));
  }
  return known.get(key);
}

// A function of numbers, over arrays that are broadcast.
export function mapped(apply, args, shape) {
  const places = args.map((arg) => spread(arg.shape, shape));
  const out = new Float64Array(sizeOf(shape));
  const [a, b, c] = args.map((arg) => arg.data);
  const [p, q, r] = places;
  for (let index = 0; index < out.length; index += 1) {
    out[index] = apply(a[p[index]], b?.[q[index]], c?.[r[index]]);
  }
  return out;
}

// The numbers of an array in groups: those that differ in the given axes only, null for all axes.
export function groups({ shape, data }, axes) {
  const over = new Set(axes === null ? shape.keys() : [axes].flat().map((axis) => normal(axis, shape.length)));
  const kept = shape.map((length, axis) => (over.has(axis) ? 1 : length));
  const found = Array.from({ length: sizeOf(kept) }, () => []);
  const places = spread(kept, shape);
  data.forEach((number, index) => found[places[index]].push(number));
  return found;
}

// A sum with what rounding lost on the way (Neumaier 1974).
export function total(numbers) {
  let sum = 0;
  let lost = 0;
  for (const number of numbers) {
    const next = sum + number;
    lost += Math.abs(sum) >= Math.abs(number) ? sum - next + number : number - next + sum;
    sum = next;
  }
  return Number.isFinite(sum) ? sum + lost : sum;
}

// An array seen as (before, along, after) of one axis: `place(i, j, k)` is where an element lies.
export function along({ shape }, axis) {
  const at = normal(axis, shape.length);
  const [before, count, after] = [sizeOf(shape.slice(0, at)), shape[at], sizeOf(shape.slice(at + 1))];
  return { before, count, after, place: (i, j, k) => (i * count + j) * after + k };
}

// Calls `visit` for each place before and after an axis.
export function beside({ before, after }, visit) {
  for (let i = 0; i < before; i += 1) for (let k = 0; k < after; k += 1) visit(i, k);
}

export const transposed = (shape, axes) => {
  const strides = stridesOf(shape);
  return walk(axes.map((axis) => shape[axis]), axes.map((axis) => strides[axis]));
};
