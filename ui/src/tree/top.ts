import type { Tree } from './tree';

/** A function's values over the whole tree. On a stack that holds it several times, total counts it once. */
export interface Function {
  frame: number; // the first of this name
  self: number;
  total: number;
  baseSelf: number;
  baseTotal: number;
}

/** The functions of a tree, in no order. */
export function functions(t: Tree): Function[] {
  const names = t.frames.name, byName = new Map<string, number>();
  const first = Int32Array.from(names, (name, f) => {
    const known = byName.get(name);
    if (known !== undefined) return known;
    byName.set(name, f);
    return f;
  });
  const n = names.length;
  const self = new Float64Array(n), total = new Float64Array(n), baseSelf = new Float64Array(n), baseTotal = new Float64Array(n);
  const onStack = new Int32Array(n), stack = new Int32Array(t.maxDepth + 1);
  for (let i = 1, top = 0; i < t.size; i++) {
    while (top >= t.depth[i]!) onStack[stack[top--]!]!--;
    const f = first[t.frame[i]!]!;
    self[f]! += t.self[i]!;
    if (t.base) baseSelf[f]! += t.base.self[i]!;
    if (onStack[f]!++ === 0) {
      total[f]! += t.total[i]!;
      if (t.base) baseTotal[f]! += t.base.total[i]!;
    }
    stack[++top] = f;
  }
  const list: Function[] = [];
  for (let f = 1; f < n; f++) {
    if (total[f] || baseTotal[f]) list.push({ frame: f, self: self[f]!, total: total[f]!, baseSelf: baseSelf[f]!, baseTotal: baseTotal[f]! });
  }
  return list;
}

/** Values by a key of each frame, as its package, largest self first: for legends. */
export function selfBy(t: Tree, keyOf: (frame: number) => string): { key: string; self: number }[] {
  const byFrame = new Float64Array(t.frames.name.length);
  for (let i = 1; i < t.size; i++) byFrame[t.frame[i]!]! += t.self[i]!;
  const sums = new Map<string, number>();
  byFrame.forEach((v, f) => {
    if (v) sums.set(keyOf(f), (sums.get(keyOf(f)) ?? 0) + v);
  });
  return [...sums].map(([key, self]) => ({ key, self })).sort((a, b) => b.self - a.self);
}
