/// <reference types="node" />
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { side, weighed } from './compare';
import { search } from './find';
import { Grower } from './grow';
import { packageOf, shortName } from './names';
import { collapsed, inverted, sandwich } from './reshape';
import { functions } from './top';
import { follow, framesNamed, pathOf, plant, type Frames, type Tree } from './tree';

const NAMES = ['', 'a', 'b', 'c', 'd', 'e'];
const frames: Frames = { name: NAMES, file: NAMES.map(() => ''), line: new Int32Array(6), binary: NAMES.map(() => ''), buildID: NAMES.map(() => ''), kind: new Uint8Array(6) };

/** Stacks as people write them, "a;b;c 5", and a tree of them. */
type Stacks = Map<string, number>;

function grow(stacks: Stacks, base?: Stacks): Tree {
  const g = new Grower(frames, base !== undefined, 2);
  const add = (stacks: Stacks, self: () => Float64Array, total: () => Float64Array) => {
    for (const [stack, v] of stacks) {
      let at = 0;
      total()[0]! += v;
      for (const name of stack.split(';').filter(Boolean)) {
        at = g.child(at, NAMES.indexOf(name));
        total()[at]! += v;
      }
      self()[at]! += v;
    }
  };
  add(stacks, () => g.self, () => g.total);
  if (base) add(base, () => g.baseSelf!, () => g.baseTotal!);
  return g.finish();
}

function stacksOf(t: Tree): Stacks {
  const out: Stacks = new Map();
  for (let i = 0; i < t.size; i++) {
    if (!t.self[i]) continue;
    const names: string[] = [];
    for (let q = i; q > 0; q = t.parent[q]!) names.push(t.frames.name[t.frame[q]!]!);
    const key = names.reverse().join(';');
    out.set(key, (out.get(key) ?? 0) + t.self[i]!);
  }
  return new Map([...out].sort());
}

/** The same numbers every time. */
function random(seed: number): () => number {
  return () => ((seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 32);
}

function someStacks(seed: number): Stacks {
  const next = random(seed), out: Stacks = new Map();
  for (let k = 0; k < 200; k++) {
    const stack = Array.from({ length: 1 + Math.floor(next() * 7) }, () => NAMES[1 + Math.floor(next() * 5)]).join(';');
    out.set(stack, (out.get(stack) ?? 0) + 1 + Math.floor(next() * 9));
  }
  return new Map([...out].sort());
}

/** What holds of every tree, however it was made. */
function check(t: Tree) {
  for (let i = 0; i < t.size; i++) {
    let sum = t.self[i]!, before = '';
    for (let c = i + 1; c < t.end[i]!; c = t.end[c]!) {
      assert.equal(t.parent[c], i);
      assert.equal(t.depth[c], t.depth[i]! + 1);
      const name = t.frames.name[t.frame[c]!]!;
      assert.ok(before < name, 'children are ordered and each is there once');
      before = name;
      sum += t.total[c]!;
    }
    assert.equal(t.total[i], sum);
  }
}

const mapKeys = (stacks: Stacks, f: (names: string[]) => string[]): Stacks => {
  const out: Stacks = new Map();
  for (const [stack, v] of stacks) {
    const key = f(stack.split(';')).join(';');
    out.set(key, (out.get(key) ?? 0) + v);
  }
  return new Map([...out].sort());
};

for (const seed of [1, 2, 3]) {
  const stacks = someStacks(seed), tree = grow(stacks);
  test(`a tree gives back its stacks (${seed})`, () => {
    check(tree);
    assert.deepEqual(stacksOf(tree), stacks);
  });
  test(`inverted, stacks are turned round, and twice is the same (${seed})`, () => {
    const t = inverted(tree);
    check(t);
    assert.deepEqual(stacksOf(t), mapKeys(stacks, (s) => s.reverse()));
    assert.deepEqual(stacksOf(inverted(t)), stacks);
  });
  test(`collapsed, runs of one function are one frame (${seed})`, () => {
    const t = collapsed(tree);
    check(t);
    assert.deepEqual(stacksOf(t), mapKeys(stacks, (s) => s.filter((name, i) => name !== s[i - 1])));
  });
  test(`a sandwich is what calls a function and what it calls (${seed})`, () => {
    const { callers, callees } = sandwich(tree, framesNamed(tree, 'c')!);
    const through = new Map([...stacks].filter(([s]) => s.includes('c')));
    assert.deepEqual(stacksOf(callees), mapKeys(through, (s) => s.slice(s.indexOf('c') + 1)));
    assert.deepEqual(stacksOf(callers), mapKeys(through, (s) => s.slice(0, s.indexOf('c')).reverse()));
    check(callees);
    check(callers);
  });
  test(`a function's total counts a stack once (${seed})`, () => {
    for (const f of functions(tree)) {
      const name = NAMES[f.frame]!;
      let self = 0, total = 0;
      for (const [s, v] of stacks) {
        if (s.endsWith(name)) self += v;
        if (s.includes(name)) total += v;
      }
      assert.deepEqual([f.self, f.total], [self, total], name);
      assert.equal(search(tree, name)!.sum, total);
    }
  });
  test(`a comparison keeps both sides, however it is turned (${seed})`, () => {
    const other = someStacks(seed + 10), t = grow(other, stacks);
    for (const [shape, f] of [[(x: Tree) => x, (s: string[]) => s], [inverted, (s: string[]) => s.reverse()], [collapsed, (s: string[]) => s.filter((name, i) => name !== s[i - 1])]] as [(t: Tree) => Tree, (s: string[]) => string[]][]) {
      const turned = shape(t);
      assert.deepEqual(stacksOf(side(turned, false)), mapKeys(other, f));
      assert.deepEqual(stacksOf(side(turned, true)), mapKeys(stacks, f));
    }
    assert.deepEqual(stacksOf(side(sandwich(t, framesNamed(t, 'c')!).callees, true)), stacksOf(sandwich(tree, framesNamed(tree, 'c')!).callees));
    assert.ok(Math.abs(weighed(t, 'both-relative').weight[0]! - 2) < 1e-9, 'each side is a whole');
  });
  test(`a path finds its node again (${seed})`, () => {
    for (let i = 0; i < tree.size; i += 7) assert.equal(follow(tree, pathOf(tree, i)), i);
  });
}

test('what is no tree is refused', () => {
  const columns = (depth: number[], frame: number[]) => ({ frames, depth: Int32Array.from(depth), frame: Int32Array.from(frame), self: new Float64Array(depth.length), total: new Float64Array(depth.length) });
  for (const [depth, frame] of [[[], []], [[1], [0]], [[0, 2], [0, 1]], [[0, 0], [0, 1]], [[0, 1], [0, 9]], [[0, 1], [0, -1]]] as [number[], number[]][]) {
    assert.throws(() => plant(columns(depth, frame)), /no call tree/, JSON.stringify(depth));
  }
});

test('packages of many languages', () => {
  for (const [name, want] of [
    ['github.com/a/b/pkg.(*T).Do', 'github.com/a/b/pkg'], ['runtime.mallocgc', 'runtime'], ['main.main', 'main'], ['net/http.(*conn).serve', 'net/http'],
    ['std::vector<int>::push_back(int)', 'std::vector'], ['alloc::vec::Vec<T>::push', 'alloc::vec'], ['java.util.HashMap.get', 'java.util.HashMap'], ['malloc', ''],
    ['<core::iter::Map<I,F> as Iterator>::next', 'core::iter'],
  ] as const) assert.equal(packageOf(name), want, name);
  assert.equal(shortName('github.com/a/b/pkg.(*T).Do'), 'pkg.(*T).Do');
});
