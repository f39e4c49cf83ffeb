import { expression } from './reshape';
import type { Tree } from './tree';

/** What a search found: which frames, and how much of the whole lies in or below them. */
export interface Found {
  frames: Uint8Array;
  sum: number;
}

/** Searches the names, and the files when the words name one. Null when nothing is searched. */
export function search(t: Tree, pattern: string): Found | null {
  if (!pattern) return null;
  const want = expression(pattern), frames = new Uint8Array(t.frames.name.length);
  for (let f = 1; f < frames.length; f++) if (want.test(t.frames.name[f]!)) frames[f] = 1;
  return { frames, sum: sumOf(t, frames) };
}

/** The sum of the outermost nodes that have one of the frames. */
export function sumOf(t: Tree, frames: Uint8Array): number {
  let sum = 0;
  for (let i = 1; i < t.size; ) {
    if (frames[t.frame[i]!]) {
      sum += t.total[i]!;
      i = t.end[i]!;
    } else i++;
  }
  return sum;
}
