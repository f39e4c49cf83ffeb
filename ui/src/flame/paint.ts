// Painting a call tree, and finding what lies under a point. The cost follows the pixels, not
// the nodes: a subtree narrower than half a pixel is passed over whole.

import { shortName } from '../tree/names';
import { Kind, type Tree } from '../tree/tree';
import type { Inks } from './palette';

export const ROW = 19; // pixels
export const FONT = '11.5px ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace';

/** What part of a tree is seen, and how it looks. */
export interface View {
  tree: Tree;
  root: number; // the node that is as wide as the view; its callers stand above it in full width
  width: number;
  height: number; // of the window
  scroll: number; // rows' pixels above the window
  flip: boolean; // callers at the bottom
  inks: Inks;
  fill(node: number): string;
  marked: Uint8Array | null; // frames; the others are dim
  rootName: string;
  charWidth: number; // all letters are equally wide
}

export const rowOf = (v: View, depth: number): number => (v.flip ? v.tree.maxDepth - depth : depth) * ROW;
export const contentHeight = (t: Tree): number => (t.maxDepth + 1) * ROW;

/** Paints, and says how many boxes. */
export function paint(ctx: CanvasRenderingContext2D, v: View): number {
  const { tree: t, root, inks } = v;
  ctx.fillStyle = inks.paper;
  ctx.fillRect(0, 0, v.width, v.height);
  ctx.font = FONT;
  ctx.textBaseline = 'middle';
  const stripes = stripesOf(ctx, inks.stripe);
  let boxes = 0;

  const box = (i: number, x: number, w: number) => {
    const y = rowOf(v, t.depth[i]!) - v.scroll;
    if (y + ROW < 0 || y > v.height) return;
    boxes++;
    const frame = t.frame[i]!, dim = v.marked !== null && i > 0 && !v.marked[frame];
    const inner = w > 2 ? w - 1 : v.marked && !dim && i > 0 ? Math.max(2, w) : w; // what was searched for is seen
    const alpha = ctx.globalAlpha;
    ctx.fillStyle = v.fill(i);
    if (dim) ctx.globalAlpha = 0.28 * alpha;
    ctx.fillRect(x, y, inner, ROW - 1);
    ctx.globalAlpha = alpha;
    if (t.frames.kind[frame] === Kind.Unsymbolized && w > 4 && !dim) {
      ctx.fillStyle = stripes;
      ctx.fillRect(x, y, inner, ROW - 1);
    }
    if (w < 22) return;
    const text = fit(i === 0 ? v.rootName : t.frames.name[frame]!, Math.floor((w - 7) / v.charWidth));
    ctx.fillStyle = dim ? inks.dimInk : inks.ink;
    ctx.fillText(text, x + 4, y + ROW / 2);
  };

  const callers: number[] = [];
  for (let q = t.parent[root]!; q >= 0; q = t.parent[q]!) callers.push(q);
  ctx.globalAlpha = 0.55;
  for (const q of callers.reverse()) box(q, 0, v.width);
  ctx.globalAlpha = 1;

  const scale = v.width / (t.weight[root]! || 1), x0 = t.start[root]!;
  const stubbed = new Float64Array(t.maxDepth + 1).fill(-1); // where the last stub of each depth stands
  for (let i = root; i < t.end[root]!; ) {
    const d = t.depth[i]!, y = rowOf(v, d) - v.scroll, w = t.weight[i]! * scale, x = (t.start[i]! - x0) * scale;
    if (w < 0.5) {
      if (x - stubbed[d]! >= 1 && y + ROW >= 0 && y <= v.height) {
        ctx.fillStyle = inks.stub;
        ctx.fillRect(x, y, 1, ROW - 1);
        stubbed[d] = x;
        boxes++;
      }
      i = t.end[i]!;
      continue;
    }
    if (!v.flip && y > v.height) {
      i = t.end[i]!; // and so is all below it
      continue;
    }
    box(i, x, w);
    i++;
  }
  return boxes;
}

/** A name in so many letters: whole, without its path, or cut. */
function fit(name: string, letters: number): string {
  if (name.length <= letters) return name;
  const short = shortName(name);
  return short.length <= letters ? short : short.slice(0, Math.max(1, letters - 1)) + '…';
}

const patterns = new Map<string, CanvasPattern>();

function stripesOf(ctx: CanvasRenderingContext2D, color: string): CanvasPattern {
  let pattern = patterns.get(color);
  if (!pattern) {
    const tile = document.createElement('canvas');
    tile.width = tile.height = 6;
    const c = tile.getContext('2d')!;
    c.strokeStyle = color;
    c.lineWidth = 1.5;
    c.beginPath();
    for (const at of [-3, 3, 9]) c.moveTo(at - 3, 9), c.lineTo(at + 9, -3);
    c.stroke();
    patterns.set(color, (pattern = ctx.createPattern(tile, 'repeat')!));
  }
  return pattern;
}

/** The node under a point of the window; -1 for none. */
export function nodeAt(v: View, x: number, y: number): number {
  const t = v.tree, row = Math.floor((y + v.scroll) / ROW), depth = v.flip ? t.maxDepth - row : row;
  if (depth < 0 || depth > t.maxDepth) return -1;
  if (depth <= t.depth[v.root]!) {
    let q = v.root;
    while (t.depth[q]! > depth) q = t.parent[q]!;
    return q;
  }
  const at = t.start[v.root]! + (x * t.weight[v.root]!) / v.width;
  for (let i = v.root, end = t.end[v.root]!; i < end; ) {
    const inside = at >= t.start[i]! && at < t.start[i]! + t.weight[i]!;
    if (inside && t.depth[i] === depth) return i;
    i = inside ? i + 1 : t.end[i]!;
  }
  return -1;
}

/** Where a node stands in the content, in pixels; null when the zoom leaves it out. */
export function placeOf(v: View, i: number): { left: number; top: number; width: number } | null {
  const t = v.tree, top = rowOf(v, t.depth[i]!);
  if (t.depth[i]! < t.depth[v.root]!) {
    for (let q = t.parent[v.root]!; q >= 0; q = t.parent[q]!) if (q === i) return { left: 0, top, width: v.width };
    return null;
  }
  if (i < v.root || i >= t.end[v.root]!) return null;
  const scale = v.width / (t.weight[v.root]! || 1), left = (t.start[i]! - t.start[v.root]!) * scale;
  return { left, top, width: Math.max(2, Math.min(v.width - left, t.weight[i]! * scale)) };
}

let measured = 0;

/** How wide a letter of FONT is. */
export function charWidth(): number {
  if (!measured) {
    const ctx = document.createElement('canvas').getContext('2d')!;
    ctx.font = FONT;
    measured = ctx.measureText('m'.repeat(100)).width / 100;
  }
  return measured;
}

/** Which child is the widest, where the arrow down goes; the node itself where it has none. */
export function widestChild(t: Tree, i: number): number {
  let best = i;
  for (let child = i + 1; child < t.end[i]!; child = t.end[child]!) if (best === i || t.weight[child]! > t.weight[best]!) best = child;
  return best;
}

/** The neighbour of a node below the same caller, right or left; the node itself where there is none. */
export function sibling(t: Tree, i: number, right: boolean): number {
  const p = t.parent[i]!;
  if (p < 0) return i;
  if (right) return t.end[i]! < t.end[p]! ? t.end[i]! : i;
  let before = i;
  for (let child = p + 1; child < i; child = t.end[child]!) before = child;
  return before;
}
