import { Grower } from './grow';
import { Kind, type Frames, type Tree } from './tree';

/**
 * Two trees as one. total and self are the right one's, base the left one's. A node is as wide as both
 * together: as they are, or, relatively, each as a share of its own whole.
 */
export function compared(left: Tree, right: Tree, relative: boolean): Tree {
  const { frames, ofLeft, ofRight } = union(left.frames, right.frames);
  const grower = new Grower(frames, true, 4096);
  add(left, ofLeft, grower, (at, i) => {
    grower.baseSelf![at]! += left.self[i]!;
    grower.baseTotal![at]! += left.total[i]!;
  });
  add(right, ofRight, grower, (at, i) => {
    grower.self[at]! += right.self[i]!;
    grower.total[at]! += right.total[i]!;
  });
  const ofBase = relative ? 1 / (left.total[0] || 1) : 1, ofNew = relative ? 1 / (right.total[0] || 1) : 1;
  return grower.finish((i) => grower.baseTotal![i]! * ofBase + grower.total[i]! * ofNew);
}

function add(t: Tree, frameOf: Int32Array, grower: Grower, count: (at: number, i: number) => void) {
  const place = new Int32Array(t.size);
  for (let i = 0; i < t.size; i++) {
    place[i] = i === 0 ? 0 : grower.child(place[t.parent[i]!]!, frameOf[t.frame[i]!]!);
    count(place[i]!, i);
  }
}

/** The frames of both, by name. */
function union(left: Frames, right: Frames): { frames: Frames; ofLeft: Int32Array; ofRight: Int32Array } {
  const known = new Map<string, number>([['', 0]]);
  const frames = { name: [''], file: [''], binary: [''], buildID: [''] }, line = [0], kind: number[] = [Kind.User];
  const number = (from: Frames) =>
    Int32Array.from(from.name, (name, f) => {
      if (f === 0) return 0;
      let at = known.get(name);
      if (at === undefined) {
        known.set(name, (at = frames.name.length));
        frames.name.push(name);
        frames.file.push(from.file[f]!);
        frames.binary.push(from.binary[f]!);
        frames.buildID.push(from.buildID[f]!);
        line.push(from.line[f]!);
        kind.push(from.kind[f]!);
      }
      return at;
    });
  const ofLeft = number(left), ofRight = number(right);
  return { frames: { ...frames, line: Int32Array.from(line), kind: Uint8Array.from(kind) }, ofLeft, ofRight };
}

/** How much a node or function changed, from -1 (gone) to 1 (new), as a part of the larger side. */
export function changeOf(base: number, now: number, baseWhole: number, whole: number, relative: boolean): number {
  const a = relative ? base / (baseWhole || 1) : base, b = relative ? now / (whole || 1) : now;
  const larger = Math.max(Math.abs(a), Math.abs(b));
  return larger ? (b - a) / larger : 0;
}
