/// <reference types="node" />
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Stats } from './answers';
import { together } from './price';

const stats = (of: Partial<Stats>): Stats => ({ blocks: 0, ok: 0, missing: [], profiles: 0, requests: 0, bytes: 0, cache_hits: 0, cache_bytes: 0, cpu_ms: 0, ms: 0, dollars: 0, ...of });

test('costs add up; blocks, profiles and what is missing are counted once', () => {
  const lost = { key: 'v1/b4/a', reason: 'corrupt' }, other = { key: 'v1/b4/b', reason: 'gone' };
  const graph = stats({ blocks: 3, ok: 2, profiles: 7, requests: 4, bytes: 100, cpu_ms: 2, ms: 30, dollars: 1, missing: [lost] });
  const chart = stats({ blocks: 3, ok: 1, profiles: 7, requests: 1, bytes: 10, cache_hits: 5, cache_bytes: 50, cpu_ms: 1, ms: 40, dollars: 2, missing: [lost, other] });
  const want = stats({ blocks: 3, ok: 2, profiles: 7, requests: 5, bytes: 110, cache_hits: 5, cache_bytes: 50, cpu_ms: 3, ms: 40, dollars: 3, missing: [lost, other] });
  assert.deepEqual(together(graph, chart), want);
  assert.deepEqual(together(graph), graph);
  assert.deepEqual(graph.missing, [lost]);
});
