// Reading the Arrow form of a flame graph into a tree: the columns are taken as they lie in the answer.

import { tableFromIPC } from '@uwdata/flechette';
import { Kind, plant, type Frames, type Tree } from '../tree/tree';
import type { FlamegraphHead } from './answers';

/** What of flechette's batches is read here; its own types do not say it. */
interface Batch {
  length: number;
  values: ArrayLike<number> | BigInt64Array | BigUint64Array;
  offsets: Int32Array; // of texts
  dictionary: { data: Batch[] };
  children: Batch[];
  type: { children: { name: string }[] };
  at(i: number): unknown;
}

const KINDS: Record<string, Kind> = { kernel: Kind.Kernel, unsymbolized: Kind.Unsymbolized, labels: Kind.Label };

export function treeOf(bytes: Uint8Array): FlamegraphHead & { tree: Tree } {
  const table = tableFromIPC(bytes, { useBigInt: true, useProxy: true });
  const column = (name: string): Batch => {
    const batches = table.getChild(name)?.data as unknown as Batch[] | undefined;
    if (batches?.length !== 1) throw new Error(`the flame graph's column ${name} has ${batches?.length ?? 0} batches, not one`);
    return batches[0]!;
  };
  const frame = column('frame');
  const compared = table.getChild('base_total') != null;
  const columns = {
    frames: framesOf(frame.dictionary.data[0]!),
    depth: new Int32Array(column('depth').values as ArrayLike<number>),
    frame: new Int32Array(frame.values as ArrayLike<number>),
    self: numbers(column('self')),
    total: numbers(column('total')),
    base: compared ? { self: numbers(column('base_self')), total: numbers(column('base_total')) } : null,
  };
  const facts = table.schema.metadata!;
  const fact = (name: string) => facts.get(name) ?? '';
  return {
    tree: plant(columns),
    type: fact('type'), unit: fact('unit'), from: fact('from'), to: fact('to'),
    total: Number(fact('total')), filtered: Number(fact('filtered')), cut: Number(fact('cut')),
    stats: JSON.parse(fact('stats')),
  };
}

/** A column of numbers, of 64 bits as doubles. */
function numbers(b: Batch): Float64Array {
  const v = b.values, out = new Float64Array(b.length);
  if (v instanceof BigInt64Array || v instanceof BigUint64Array) {
    // Half a number at a time: making a BigInt of each takes ten times as long.
    const low = new Uint32Array(v.buffer, v.byteOffset, 2 * b.length), high = new Int32Array(v.buffer, v.byteOffset, 2 * b.length);
    for (let i = 0; i < out.length; i++) out[i] = high[2 * i + 1]! * 2 ** 32 + low[2 * i]!;
  } else {
    for (let i = 0; i < out.length; i++) out[i] = v[i] as number;
  }
  return out;
}

function framesOf(structs: Batch): Frames {
  const field = (name: string): Batch => {
    const at = structs.type.children.findIndex((child) => child.name === name);
    if (at < 0) throw new Error(`the flame graph's frames have no ${name}`);
    return structs.children[at]!;
  };
  const texts = (name: string) => stringsOf(field(name));
  const line = numbers(field('line')), start = numbers(field('start_line'));
  return {
    name: texts('name'),
    file: texts('file'),
    binary: texts('binary'),
    buildID: texts('build_id'),
    line: Int32Array.from(line, (n, f) => n || start[f]!),
    kind: Uint8Array.from(texts('kind'), (kind) => KINDS[kind] ?? Kind.User),
  };
}

/** A column of texts. Where all of them are ASCII they are cut from one; that takes a tenth of the time of decoding each. */
function stringsOf(b: Batch): string[] {
  const offsets = b.offsets, first = offsets[0]!, bytes = (b.values as Uint8Array).subarray(first, offsets[b.length]!);
  const whole = new TextDecoder().decode(bytes), ascii = whole.length === bytes.length;
  const known = new Map<string, string>(); // files and binaries repeat: one copy of each
  return Array.from({ length: b.length }, (_, i) => {
    const text = ascii ? whole.slice(offsets[i]! - first, offsets[i + 1]! - first) : ((b.at(i) as string | null) ?? '');
    const same = known.get(text);
    if (same === undefined) known.set(text, text);
    return same ?? text;
  });
}
