// A flame chart: a call tree for each step of time, laid out where the steps are.

import { Kind, type Tree } from './tree';

/** A tree laid out over time, and what its columns are. */
export interface Steps {
  tree: Tree; // its root is as wide as the range; a column, as its share of the largest
  begins: number[]; // of columns, in milliseconds
  columnMs: number; // how long each stands for: as long as profiles are apart
}

/** When the step of a frame began, in milliseconds; NaN when it is none of time. */
export function beginOf(name: string): number {
  const time = /\b__time__="([^"]+)"/.exec(name);
  return time ? Date.parse(time[1]!) : NaN;
}

/** Whether the tree's columns are steps of time. Where nothing is, nothing is known. */
export const isTimed = (t: Tree): boolean => t.size > 1 && t.frames.kind[t.frame[1]!] === Kind.Label && !Number.isNaN(beginOf(t.frames.name[t.frame[1]!]!));

/** Lays out a tree that is grouped by steps of a range; told names a column. */
export function laidOut(t: Tree, from: number, to: number, stepMs: number, told: (ms: number) => string): Steps {
  const first = Math.floor(from / stepMs) * stepMs, steps = Math.max(1, Math.ceil((to - first) / stepMs));
  const columns: number[] = [], begins: number[] = [];
  for (let i = 1; i < t.size; i = t.end[i]!) columns.push(i), begins.push(beginOf(t.frames.name[t.frame[i]!]!));
  const gaps = begins.slice(1).map((b, k) => Math.round((b - begins[k]!) / stepMs)).sort((a, b) => a - b);
  const wide = Math.max(1, gaps.length ? gaps[Math.floor(gaps.length / 2)]! : steps); // of a column, in steps
  const largest = columns.reduce((most, i) => Math.max(most, t.total[i]!), 0) || 1;

  const start = new Float64Array(t.size), weight = new Float64Array(t.size), next = new Float64Array(t.maxDepth + 2);
  const name = t.frames.name.slice();
  weight[0] = steps * largest;
  columns.forEach((column, k) => {
    const at = Math.max(0, Math.round((begins[k]! - first) / stepMs));
    const room = Math.min(wide, (k + 1 < begins.length ? Math.round((begins[k + 1]! - first) / stepMs) : steps) - at);
    next[1] = at * largest;
    for (let i = column; i < t.end[column]!; i++) {
      const d = t.depth[i]!;
      weight[i] = t.total[i]! * Math.max(1, room);
      start[i] = next[d]!;
      next[d] = start[i]! + weight[i]!;
      next[d + 1] = start[i]!;
    }
    name[t.frame[column]!] = told(begins[k]!);
  });
  return { tree: { ...t, start, weight, frames: { ...t.frames, name } }, begins, columnMs: wide * stepMs };
}
