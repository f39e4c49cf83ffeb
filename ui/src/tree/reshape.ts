// Trees made of trees: turned over, folded, seen from one function.

import { Grower } from './grow';
import type { Tree } from './tree';

/** A regular expression of what was typed: itself, or, where that is none, its letters. */
export function expression(pattern: string): RegExp {
  try {
    return new RegExp(pattern, 'i');
  } catch {
    return new RegExp(pattern.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'), 'i');
  }
}

/** The tree in which a function that calls itself directly is one node. */
export function collapsed(t: Tree): Tree {
  const grower = new Grower(t.frames, t.base !== null);
  const place = new Int32Array(t.size);
  for (let i = 0; i < t.size; i++) {
    const p = t.parent[i]!, again = p > 0 && t.frame[p] === t.frame[i];
    place[i] = p < 0 ? 0 : again ? place[p]! : grower.child(place[p]!, t.frame[i]!);
    const at = place[i]!;
    grower.self[at]! += t.self[i]!;
    if (t.base) grower.baseSelf![at]! += t.base.self[i]!;
    if (again) continue;
    grower.total[at]! += t.total[i]!;
    if (t.base) grower.baseTotal![at]! += t.base.total[i]!;
  }
  return grower.finish();
}

/** The tree from the leaves up: below a function stand its callers. */
export function inverted(t: Tree): Tree {
  const grower = new Grower(t.frames, t.base !== null);
  for (let i = 0; i < t.size; i++) {
    const v = t.self[i]!, b = t.base ? t.base.self[i]! : 0;
    if (v || b) climb(grower, t, i, v, b);
  }
  // What the server cut is on no stack's end, but in the whole.
  grower.total[0] = t.total[0]!;
  if (t.base) grower.baseTotal![0] = t.base.total[0]!;
  return grower.finish();
}

/** Adds a value, and the base's, along the path from a node to the root. */
function climb(grower: Grower, t: Tree, from: number, value: number, base: number) {
  let at = 0;
  for (let q = from; q > 0; q = t.parent[q]!) {
    at = grower.child(at, t.frame[q]!);
    grower.total[at]! += value;
    if (base) grower.baseTotal![at]! += base;
  }
  grower.self[at]! += value;
  if (base) grower.baseSelf![at]! += base;
}

/** What calls a function, and what it calls; node 0 of each is the function. */
export interface Sandwich {
  callers: Tree;
  callees: Tree;
}

/** Looks at a tree from the functions of a mask. A function that is on a stack several times counts once, where it is first. */
export function sandwich(t: Tree, mask: Uint8Array): Sandwich {
  const up = new Grower(t.frames, t.base !== null), down = new Grower(t.frames, t.base !== null);
  const place = new Int32Array(t.size);
  for (let i = 1; i < t.size; i++) {
    if (!mask[t.frame[i]!]) continue;
    const end = t.end[i]!, base = t.base ? t.base.total[i]! : 0;
    up.total[0]! += t.total[i]!;
    if (base) up.baseTotal![0]! += base;
    climb(up, t, t.parent[i]!, t.total[i]!, base);
    for (let j = i; j < end; j++) {
      const at = j === i ? 0 : down.child(place[t.parent[j]!]!, t.frame[j]!);
      place[j] = at;
      down.self[at]! += t.self[j]!;
      down.total[at]! += t.total[j]!;
      if (!t.base) continue;
      down.baseSelf![at]! += t.base.self[j]!;
      down.baseTotal![at]! += t.base.total[j]!;
    }
    i = end - 1;
  }
  return { callers: up.finish(), callees: down.finish() };
}
