import { Kind, type Frames } from './tree';

/** The package, crate, module or class of a function's name, as Go, Rust, C++, Java and Python write them; "" for none. */
export function packageOf(name: string): string {
  let bare = name.replace(/^<(.*?)( as .*?)?>/, '$1');
  if (bare.includes('::')) while (bare !== (bare = bare.replace(/<[^<>]*>/g, '')));
  bare = bare.replace(/[([<{].*$/s, '');
  const colons = bare.lastIndexOf('::');
  if (colons > 0) {
    const parts = bare.slice(0, colons).split('::');
    return parts.slice(0, 2).join('::');
  }
  const slash = bare.lastIndexOf('/');
  const dot = bare.indexOf('.', slash + 1);
  if (dot > 0) {
    if (slash < 0 && bare.split('.').length > 2) return bare.slice(0, bare.lastIndexOf('.')); // a.b.C.method
    return bare.slice(0, dot);
  }
  return slash > 0 ? bare.slice(0, slash) : '';
}

/** A function's name without the path of its package. */
export function shortName(name: string): string {
  const end = name.search(/[([<{]/);
  const slash = name.lastIndexOf('/', end < 0 ? name.length : end);
  return slash < 0 ? name : name.slice(slash + 1);
}

export const fileName = (path: string): string => path.slice(path.lastIndexOf('/') + 1);

/** What colours and the legend go by. */
export type ColorBy = 'package' | 'function' | 'file' | 'binary';

/** The key of a frame that its colour follows from. */
export function colorKey(frames: Frames, by: ColorBy, f: number): string {
  switch (frames.kind[f]) {
    case Kind.Kernel:
      if (by !== 'function' && by !== 'file') return 'kernel';
      break;
    case Kind.Unsymbolized:
      return by === 'binary' ? frames.binary[f]! || 'no symbols' : 'no symbols';
  }
  switch (by) {
    case 'function':
      return frames.name[f]!;
    case 'file':
      return frames.file[f]! || '(no file)';
    case 'binary':
      return frames.binary[f]! || '(no binary)';
  }
  return packageOf(frames.name[f]!) || frames.binary[f]! || '(no package)';
}
