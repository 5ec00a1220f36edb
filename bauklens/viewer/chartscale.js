// The axes of a chart: how high a value is, and which ticks there are.

import { range, valueText } from "./numbers.js";

/**
 * An axis for values: `{ up(value) -> 0 (bottom) .. 1, ticks: [[value, text], ...], zero }`.
 *
 * Ranks are on a logarithmic axis with 1 on top; `zero` says whether a line at 0 is to be seen.
 */
export function chartScale(what, values) {
  const [low, high] = range(values);
  if (what === "rank") return ranks(Math.max(10, high));
  if (what === "probability") return linear(0, nice(Math.max(0.01, high)));
  if (what === "log") return linear(Math.min(low, -1), 0);
  if (what === "difference") return { ...linear(Math.min(low, 0), Math.max(high, 0)), zero: true };
  return linear(low, high);
}

function ranks(most) {
  const powers = [1, 10, 100, 1e3, 1e4, 1e5, 1e6].filter((each) => each <= most);
  const up = (rank) => 1 - Math.log(rank) / Math.log(most);
  return { up, ticks: powers.map((each) => [each, shortRank(each)]), zero: false };
}

/** 1, 10, 100, 1k, 10k, ... */
const shortRank = (rank) => (rank < 1000 ? String(rank) : rank < 1e6 ? `${rank / 1e3}k` : `${rank / 1e6}M`);

function linear(low, high) {
  const step = stepOf((high - low || 1) / 5);
  const [bottom, top] = [Math.floor(low / step + 1e-9) * step, Math.ceil(high / step - 1e-9) * step || 0];
  const end = top > bottom ? top : bottom + step;
  const count = Math.round((end - bottom) / step);
  const ticks = Array.from({ length: count + 1 }, (_, place) => bottom + place * step);
  return { up: (value) => (value - bottom) / (end - bottom), ticks: ticks.map((each) => [each, tickText(each)]), zero: false };
}

const tickText = (value) => valueText(Math.abs(value) < 1e-12 ? 0 : Number(value.toPrecision(6))).replace("-", "−");

/** The step of an axis, 1, 2 or 5 times a power of ten, that is at least as large. */
export function stepOf(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((each) => each * power).find((each) => each >= least * (1 - 1e-9));
}

/** The next of 0.01, 0.02, 0.05, 0.1, ... 1. */
export function nice(value) {
  return [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1].find((each) => each >= value - 1e-9) ?? 1;
}

/** The places along an axis that have ticks: round numbers, the first and the last; `room` is how many fit. */
export function tickPlaces(names, room) {
  const last = names.length - 1;
  const step = Math.max(1, Math.round(stepOf(names.length / room)));
  const isRound = (name, place) => (Number.isNaN(Number(name)) ? place : Number(name)) % step === 0;
  const gap = (0.8 * names.length) / room;
  const inner = [];
  for (let place = Math.max(1, Math.ceil(gap)); place <= last - gap; place += 1) if (isRound(names[place], place)) inner.push(place);
  return [...new Set([0, ...inner, last])];
}

/** The places at which a line is drawn: all; of very many the lowest and the highest value at each step, or one that is unknown. */
export function drawnPlaces(values, most = 640) {
  const count = values.length;
  if (count <= most) return Array.from({ length: count }, (_, place) => place);
  const places = [];
  const steps = Math.floor(most / 2);
  for (let step = 0; step < steps; step += 1) {
    const [from, to] = [Math.floor((step * count) / steps), Math.floor(((step + 1) * count) / steps)];
    let [low, high] = [from, from];
    for (let place = from; place < to; place += 1) {
      if (!(values[place] >= values[low])) low = Number.isFinite(values[place]) ? place : low;
      if (!(values[place] <= values[high])) high = Number.isFinite(values[place]) ? place : high;
    }
    places.push(...new Set([Math.min(low, high), Math.max(low, high)]));
  }
  return places;
}
