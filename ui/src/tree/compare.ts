import type { Tree } from './tree';

/** How wide the nodes of a comparison are drawn. */
export type Weighing = 'left' | 'right' | 'both' | 'both-relative';

/**
 * A comparison with its nodes as wide as one side is, or as both together: as they are, or,
 * relatively, each as a share of its own whole. The other columns are shared with t.
 */
export function weighed(t: Tree, how: Weighing): Tree {
  const base = t.base!.total, weight = new Float64Array(t.size), start = new Float64Array(t.size);
  const relative = how === 'both-relative';
  const ofBase = how === 'right' ? 0 : relative ? 1 / (base[0] || 1) : 1, ofNow = how === 'left' ? 0 : relative ? 1 / (t.total[0] || 1) : 1;
  const next = new Float64Array(t.maxDepth + 2);
  for (let i = 0; i < t.size; i++) {
    const d = t.depth[i]!;
    weight[i] = ofBase * base[i]! + ofNow * t.total[i]!;
    start[i] = next[d]!;
    next[d] = start[i]! + weight[i]!;
    next[d + 1] = start[i]!;
  }
  return { ...t, weight, start };
}

/** One side of a comparison as a tree of its own values. */
export function side(t: Tree, left: boolean): Tree {
  const { base, ...rest } = weighed(t, left ? 'left' : 'right');
  return { ...rest, base: null, ...(left && { self: base!.self, total: base!.total }) };
}

/** How much a node or function changed, from -1 (gone) to 1 (new), as a part of the larger side. */
export function changeOf(base: number, now: number, baseWhole: number, whole: number, relative: boolean): number {
  const a = relative ? base / (baseWhole || 1) : base, b = relative ? now / (whole || 1) : now;
  const larger = Math.max(Math.abs(a), Math.abs(b));
  return larger ? (b - a) / larger : 0;
}
