import { plant, type Frames, type Tree } from './tree';

/**
 * Grows a tree path by path: child finds or makes the child of a node that has a frame. A
 * hash table over flat arrays, for trees of hundreds of thousands of nodes.
 */
export class Grower {
  size = 1;
  self: Float64Array;
  total: Float64Array;
  baseSelf: Float64Array | null = null;
  baseTotal: Float64Array | null = null;
  private parent: Int32Array;
  private frame: Int32Array;
  private table: Int32Array; // node numbers, 0 for none: the root is nobody's child
  private mask: number;

  constructor(private frames: Frames, compared = false, capacity = 1024) {
    this.parent = new Int32Array(capacity);
    this.frame = new Int32Array(capacity);
    this.self = new Float64Array(capacity);
    this.total = new Float64Array(capacity);
    if (compared) {
      this.baseSelf = new Float64Array(capacity);
      this.baseTotal = new Float64Array(capacity);
    }
    this.parent[0] = -1;
    this.table = new Int32Array(2 * capacity);
    this.mask = 2 * capacity - 1;
  }

  child(parent: number, frame: number): number {
    let slot = hash(parent, frame) & this.mask;
    for (let node; (node = this.table[slot]!) !== 0; slot = (slot + 1) & this.mask) {
      if (this.parent[node] === parent && this.frame[node] === frame) return node;
    }
    if (this.size === this.parent.length) {
      this.double();
      return this.child(parent, frame);
    }
    const node = this.size++;
    this.parent[node] = parent;
    this.frame[node] = frame;
    this.table[slot] = node;
    return node;
  }

  parentOf(node: number): number {
    return this.parent[node]!;
  }

  private double() {
    const larger = <T extends Int32Array | Float64Array>(a: T): T => {
      const b = new (a.constructor as new (n: number) => T)(2 * a.length);
      b.set(a as never);
      return b;
    };
    this.parent = larger(this.parent);
    this.frame = larger(this.frame);
    this.self = larger(this.self);
    this.total = larger(this.total);
    if (this.baseSelf) this.baseSelf = larger(this.baseSelf);
    if (this.baseTotal) this.baseTotal = larger(this.baseTotal);
    this.table = new Int32Array(2 * this.table.length);
    this.mask = this.table.length - 1;
    for (let node = 1; node < this.size; node++) {
      let slot = hash(this.parent[node]!, this.frame[node]!) & this.mask;
      while (this.table[slot] !== 0) slot = (slot + 1) & this.mask;
      this.table[slot] = node;
    }
  }

  /** The tree, its children ordered by name as the server orders them. */
  finish(): Tree {
    const n = this.size, rank = ranks(this.frames.name);
    // Nodes by the rank of their names: a counting sort. Dealt out to their parents in that order, children are sorted.
    const bucket = new Int32Array(this.frames.name.length + 1);
    for (let i = 1; i < n; i++) bucket[rank[this.frame[i]!]! + 1]!++;
    for (let k = 1; k < bucket.length; k++) bucket[k]! += bucket[k - 1]!;
    const sorted = new Int32Array(n);
    for (let i = 1; i < n; i++) sorted[bucket[rank[this.frame[i]!]!]!++] = i;
    const firstChild = new Int32Array(n), nextSibling = new Int32Array(n);
    for (let k = n - 2; k >= 0; k--) {
      const i = sorted[k]!, p = this.parent[i]!;
      nextSibling[i] = firstChild[p]!;
      firstChild[p] = i;
    }
    const depth = new Int32Array(n), frame = new Int32Array(n);
    const columns = { self: new Float64Array(n), total: new Float64Array(n) };
    const base = this.baseSelf ? { self: new Float64Array(n), total: new Float64Array(n) } : null;
    for (let i = 0, d = 0, at = 0; ; ) {
      depth[at] = d;
      frame[at] = this.frame[i]!;
      columns.self[at] = this.self[i]!;
      columns.total[at] = this.total[i]!;
      if (base) {
        base.self[at] = this.baseSelf![i]!;
        base.total[at] = this.baseTotal![i]!;
      }
      at++;
      if (firstChild[i]) {
        i = firstChild[i]!;
        d++;
        continue;
      }
      while (i > 0 && !nextSibling[i]) {
        i = this.parent[i]!;
        d--;
      }
      if (i === 0) break;
      i = nextSibling[i]!;
    }
    return plant({ frames: this.frames, depth, frame, ...columns, base });
  }
}

function hash(parent: number, frame: number): number {
  const h = Math.imul(parent, 0x9e3779b1) ^ Math.imul(frame, 0x85ebca6b);
  return h ^ (h >>> 15);
}

/** The place of each name among all names. */
function ranks(names: string[]): Int32Array {
  const order = Array.from(names, (_, i) => i).sort((a, b) => (names[a]! < names[b]! ? -1 : names[a]! > names[b]! ? 1 : a - b));
  const rank = new Int32Array(names.length);
  order.forEach((frame, place) => (rank[frame] = place));
  return rank;
}
