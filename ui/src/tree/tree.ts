// A call tree as flat columns in preorder: a node comes before its children, and the
// subtree of node i is [i, end[i]). Everything that walks it is a loop over arrays.

/** What a frame is, beside its name. */
export const enum Kind {
  User = 0,
  Kernel = 1,
  Unsymbolized = 2,
  Label = 3, // a value of a label that the tree is grouped by
}

/** What nodes point to: columns of one length. Frame 0 is the root's. */
export interface Frames {
  name: string[];
  file: string[];
  line: Int32Array; // 0: not known
  binary: string[];
  buildID: string[];
  kind: Uint8Array; // Kind
}

/** What the other side of a comparison has, by node. */
export interface Base {
  self: Float64Array;
  total: Float64Array;
}

export interface Tree {
  frames: Frames;
  size: number; // nodes
  depth: Int32Array; // 0 for the root, node 0
  frame: Int32Array;
  parent: Int32Array; // -1 for the root
  end: Int32Array;
  self: Float64Array;
  total: Float64Array; // of the node and all below it, including what the server cut
  /** Where a node is drawn and how wide: total's, or what weighed makes of a comparison. */
  start: Float64Array;
  weight: Float64Array;
  maxDepth: number;
  base: Base | null;
}

/** Everything but what follows from the order. */
export interface Columns {
  frames: Frames;
  depth: Int32Array;
  frame: Int32Array;
  self: Float64Array;
  total: Float64Array;
  base?: Base | null;
}

/** Makes a tree of columns, and refuses what is none. */
export function plant(c: Columns): Tree {
  const size = c.depth.length;
  if (size === 0 || c.depth[0] !== 0) throw new Error('the answer holds no call tree: it has no root');
  const parent = new Int32Array(size), end = new Int32Array(size), start = new Float64Array(size);
  const weight = c.total, frameCount = c.frames.name.length;
  let maxDepth = 0;
  for (let i = 0; i < size; i++) if (c.depth[i]! > maxDepth) maxDepth = c.depth[i]!;
  if (maxDepth >= size) throw new Error('the answer holds no call tree: it is deeper than it is large');
  const open = new Int32Array(maxDepth + 1); // the last node of each depth
  const next = new Float64Array(maxDepth + 2); // where the next child of that depth begins
  for (let i = 0, last = 0; i < size; i++) {
    const d = c.depth[i]!;
    if (i > 0 && (d < 1 || d > last + 1)) throw new Error(`the answer holds no call tree: node ${i} of depth ${d} follows one of ${last}`);
    if (c.frame[i]! < 0 || c.frame[i]! >= frameCount) throw new Error(`the answer holds no call tree: node ${i} has frame ${c.frame[i]} of ${frameCount}`);
    for (let k = d; i > 0 && k <= last; k++) end[open[k]!] = i;
    open[d] = i;
    parent[i] = d ? open[d - 1]! : -1;
    start[i] = next[d]!;
    next[d] = start[i]! + weight[i]!;
    next[d + 1] = start[i]!;
    last = d;
  }
  for (let k = 0; k <= maxDepth; k++) if (end[open[k]!] === 0) end[open[k]!] = size;
  return { frames: c.frames, size, depth: c.depth, frame: c.frame, parent, end, self: c.self, total: c.total, start, weight, maxDepth, base: c.base ?? null };
}

/**
 * A node's path from the root, as a word for the URL: a short hash of each name. It finds the
 * node again in newer data, and in a tree that is shaped otherwise as far as that goes.
 */
export function pathOf(t: Tree, node: number): string {
  const path: string[] = [];
  for (let i = node; i > 0; i = t.parent[i]!) path.push(mark(t.frames.name[t.frame[i]!]!));
  return path.reverse().join('.');
}

/** The node at the end of a path, or the last that is still there. */
export function follow(t: Tree, path: string): number {
  let node = 0;
  for (const want of path ? path.split('.') : []) {
    let found = -1;
    for (let child = node + 1; child < t.end[node]!; child = t.end[child]!) {
      if (mark(t.frames.name[t.frame[child]!]!) === want) {
        found = child;
        break;
      }
    }
    if (found < 0) break;
    node = found;
  }
  return node;
}

function mark(name: string): string {
  let h = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) h = Math.imul(h ^ name.charCodeAt(i), 0x01000193);
  return (h >>> 0).toString(36);
}

/** Which frames have one of the names. */
export function framesNamed(t: Tree, name: string): Uint8Array | null {
  const mask = new Uint8Array(t.frames.name.length);
  let any = false;
  t.frames.name.forEach((n, f) => {
    if (f > 0 && n === name) mask[f] = 1, (any = true);
  });
  return any ? mask : null;
}
