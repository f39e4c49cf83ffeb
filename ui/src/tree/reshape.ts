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
  const grower = new Grower(t.frames);
  const place = new Int32Array(t.size);
  for (let i = 0; i < t.size; i++) {
    const p = t.parent[i]!, again = p > 0 && t.frame[p] === t.frame[i];
    place[i] = p < 0 ? 0 : again ? place[p]! : grower.child(place[p]!, t.frame[i]!);
    const at = place[i]!;
    grower.self[at]! += t.self[i]!;
    if (!again) grower.total[at]! += t.total[i]!;
  }
  return grower.finish();
}

/** The tree from the leaves up: below a function stand its callers. */
export function inverted(t: Tree): Tree {
  const grower = new Grower(t.frames);
  for (let i = 1; i < t.size; i++) if (t.self[i]) climb(grower, t, i, 0, t.self[i]!);
  grower.total[0] = t.total[0]!;
  grower.self[0] = t.self[0]!;
  return grower.finish();
}

/** Adds a value along the path from a node to the root. */
function climb(grower: Grower, t: Tree, from: number, onto: number, value: number) {
  let at = onto;
  for (let q = from; q > 0; q = t.parent[q]!) {
    at = grower.child(at, t.frame[q]!);
    grower.total[at]! += value;
  }
  grower.self[at]! += value;
}

/** What calls a function, and what it calls; node 0 of each is the function. */
export interface Sandwich {
  callers: Tree;
  callees: Tree;
}

/** Looks at a tree from the functions of a mask. A function that is on a stack several times counts once, where it is first. */
export function sandwich(t: Tree, mask: Uint8Array): Sandwich {
  const up = new Grower(t.frames), down = new Grower(t.frames);
  const place = new Int32Array(t.size);
  for (let i = 1; i < t.size; i++) {
    if (!mask[t.frame[i]!]) continue;
    up.total[0]! += t.total[i]!;
    climb(up, t, t.parent[i]!, 0, t.total[i]!);
    down.total[0]! += t.total[i]!;
    down.self[0]! += t.self[i]!;
    place[i] = 0;
    const end = t.end[i]!;
    for (let j = i + 1; j < end; j++) {
      const at = down.child(place[t.parent[j]!]!, t.frame[j]!);
      place[j] = at;
      down.self[at]! += t.self[j]!;
      down.total[at]! += t.total[j]!;
    }
    i = end - 1;
  }
  return { callers: up.finish(), callees: down.finish() };
}
