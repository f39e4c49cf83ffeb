/// <reference types="node" />
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { change, dollars, share, value } from './format';
import { typed, when } from './state/time';

test('values in their units', () => {
  for (const [v, unit, want] of [
    [0, 'nanoseconds', '0 ns'], [1, 'nanoseconds', '1 ns'], [1500, 'nanoseconds', '1.50 µs'], [999_999, 'nanoseconds', '1.00 ms'], [12.34e9, 'nanoseconds', '12.3 s'], [90e9, 'nanoseconds', '1.50 min'],
    [1023, 'bytes', '1023 B'], [1536, 'bytes', '1.50 KiB'], [5 * 2 ** 30, 'bytes', '5 GiB'], [12345, 'count', '12.3 k'], [999, 'objects', '999'], [2.5, 'seconds', '2.50 s'],
  ] as const) assert.equal(value(v, unit), want);
  assert.equal(change(-1500, 'nanoseconds'), '−1.50 µs');
  assert.equal(share(1, 3), '33.3%');
  assert.equal(share(1, 1e6), '<0.01%');
  assert.equal(share(1, 0), '–');
  assert.equal(dollars(0.0000123), '$0.000012');
  assert.equal(dollars(0.00000000004), '<$0.000000001');
});

test('instants as they are written', () => {
  const now = Date.UTC(2026, 7, 21, 10, 0, 0);
  assert.equal(when('now-1h30m', now), now - 90 * 6e4);
  assert.equal(when('now', now), now);
  assert.equal(when(String(now), 0), now);
  assert.ok(Number.isNaN(when('yesterday', now)));
  assert.equal(typed('2026-08-21 09:30', true, now), now - 30 * 6e4);
  assert.equal(typed('2026-08-21T11:30+02:00', false, now), now - 30 * 6e4);
  assert.ok(Number.isNaN(typed('soon', true, now)));
});
