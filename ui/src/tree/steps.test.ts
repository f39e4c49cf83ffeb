/// <reference types="node" />
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isTimed, laidOut } from './steps';
import { Kind, plant, type Tree } from './tree';

/** A tree of columns, each of one function. */
function columns(...of: [at: number, value: number][]): Tree {
  const name = ['', 'work', ...of.map(([at]) => `{__time__="${new Date(at).toISOString()}", pod="a"}`)];
  const whole = of.reduce((sum, [, v]) => sum + v, 0), values = [whole, ...of.flatMap(([, v]) => [v, v])];
  return plant({
    frames: { name, file: name.map(() => ''), line: new Int32Array(name.length), binary: name.map(() => ''), buildID: name.map(() => ''), kind: Uint8Array.from(name, (_, f) => (f > 1 ? Kind.Label : Kind.User)) },
    depth: Int32Array.from([0, ...of.flatMap(() => [1, 2])]),
    frame: Int32Array.from([0, ...of.flatMap((_, k) => [k + 2, 1])]),
    self: Float64Array.from([0, ...of.flatMap(([, v]) => [0, v])]),
    total: Float64Array.from(values),
  });
}

test('columns stand where their time is, as wide as they spent', () => {
  const t = columns([10_000, 4], [30_000, 8], [50_000, 2]);
  assert.equal(isTimed(t), true);
  const { tree, begins, columnMs } = laidOut(t, 0, 60_000, 10_000, (ms) => 'at ' + ms / 1000);
  assert.deepEqual(begins, [10_000, 30_000, 50_000]);
  assert.equal(columnMs, 20_000); // profiles are two steps apart
  // Six steps of the largest value, 8: the root is 48 wide.
  assert.equal(tree.weight[0], 48);
  assert.deepEqual([1, 3, 5].map((i) => tree.start[i]), [8, 24, 40]);
  assert.deepEqual([1, 3, 5].map((i) => tree.weight[i]), [8, 16, 2]); // the last has room for one step
  assert.deepEqual([2, 4, 6].map((i) => [tree.start[i], tree.weight[i]]), [[8, 8], [24, 16], [40, 2]]);
  assert.equal(tree.frames.name[tree.frame[1]!], 'at 10');
  assert.equal(t.frames.name[t.frame[1]!]!.includes('__time__'), true); // the tree itself stays
});

test('one column is as wide as the time after it', () => {
  const { tree, columnMs } = laidOut(columns([20_000, 5]), 0, 60_000, 10_000, String);
  assert.equal(columnMs, 60_000);
  assert.deepEqual([tree.weight[0], tree.start[1], tree.weight[1]], [30, 10, 20]);
});

test('a tree of something else is not timed', () => {
  const t = columns([10_000, 4]);
  assert.equal(isTimed({ ...t, frames: { ...t.frames, name: ['', 'work', '{pod="a"}'] } }), false);
});
