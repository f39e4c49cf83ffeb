/// <reference types="node" />
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describe, stepOf, typed, when } from './time';

const NOW = Date.UTC(2026, 7, 21, 10, 30);

test('instants of the address', () => {
  for (const [text, want] of [
    ['now', NOW], ['now-90s', NOW - 9e4], ['now-1h30m', NOW - 54e5], ['now+1d', NOW + 864e5], ['now-0.5h', NOW - 18e5], ['1787308200000', 1787308200000],
    ['now-', NaN], ['now-5y', NaN], ['yesterday', NaN], ['', NaN],
  ] as const) assert.equal(when(text, NOW), want, text);
});

test('instants as people type them', () => {
  for (const [text, want] of [
    ['now-1h', NOW - 36e5], ['2026-08-21 10:00', NOW - 18e5], ['2026-08-21', NOW - 378e5], ['9:05', NOW - 51e5], ['10:00:30', NOW - 177e4],
    ['2026-08-21T12:00+02:00', NOW - 18e5], ['tomorrow, perhaps', NaN], ['', NaN],
  ] as const) assert.equal(typed(text, true, NOW), want, text);
});

test('ranges in words', () => {
  for (const [from, to, want] of [
    ['now-1h', 'now', 'Last hour'], ['now-30m', 'now', 'Last 30 minutes'], ['now-1d', 'now', 'Last day'], ['now-2h', 'now-1h', 'now-2h – now-1h'],
    [String(NOW - 864e5 * 400), 'now', '2025-07-17 10:30:00 – now'],
  ] as const) assert.equal(describe(from, to, true), want);
});

test('a step is one that people think in, of which a range has at most 120', () => {
  for (const [span, want] of [[1e3, 1e3], [36e5, 3e4], [36e5 + 1, 6e4], [864e5, 9e5], [7 * 864e5, 2 * 36e5], [400 * 864e5, 7 * 864e5]] as const) {
    assert.equal(stepOf({ from: 0, to: span }), want, String(span));
    assert.ok(span / want <= 120);
  }
});
