// Ranges of time: relative ones ("now-1h" to "now") follow the clock, absolute ones stay.

import { instant } from '../format';

export interface Range {
  from: number; // milliseconds since 1970; belongs to it
  to: number; // does not
}

const SPAN: Record<string, number> = { s: 1e3, m: 6e4, h: 36e5, d: 864e5, w: 6048e5 };

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400]; // seconds

/** A step that people think in, of which a range has 120 at most, in milliseconds. */
export const stepOf = ({ from, to }: Range): number => 1000 * (STEPS.find((s) => to - from <= 120_000 * s) ?? 7 * 86400 * Math.ceil((to - from) / (120_000 * 7 * 86400)));

/** Beginnings of ranges up to now that the menu offers. */
export const PRESETS = ['now-5m', 'now-15m', 'now-30m', 'now-1h', 'now-3h', 'now-6h', 'now-24h', 'now-2d', 'now-7d', 'now-30d'];

const UNITS: Record<string, string> = { s: 'second', m: 'minute', h: 'hour', d: 'day', w: 'week' };

/** Reads an instant: "now", "now-90m", milliseconds since 1970, or a date. NaN for anything else. */
export function when(text: string, now: number): number {
  const relative = /^now(?:\s*([+-])\s*((?:\d+(?:\.\d+)?[smhdw])+))?$/.exec(text.trim());
  if (relative) {
    let span = 0;
    for (const [, n, unit] of (relative[2] ?? '').matchAll(/(\d+(?:\.\d+)?)([smhdw])/g)) span += Number(n) * SPAN[unit!]!;
    return relative[1] === '-' ? now - span : now + span;
  }
  return /^\d{11,}$/.test(text) ? Number(text) : NaN;
}

export const isRelative = (text: string): boolean => text.startsWith('now');

/** Reads what a person typed for an instant, in the page's zone: "now-1h", "2026-08-21 10:00", "10:00" of today. NaN if it is none. */
export function typed(text: string, utc: boolean, now: number): number {
  const t = text.trim();
  if (t.startsWith('now')) return when(t, now);
  const zoned = /(z|[+-]\d\d:?\d\d)$/i.test(t);
  const clock = /^\d{1,2}:\d\d(:\d\d)?$/.test(t) ? instant(now, utc, true).slice(0, 11) + t.padStart(t.length < 6 && t.indexOf(':') === 1 ? 5 : t.length, '0') : t;
  const iso = clock.replace(' ', 'T');
  return Date.parse(zoned ? iso : utc ? (iso.includes('T') ? iso + 'Z' : iso + 'T00:00Z') : iso.includes('T') ? iso : iso + 'T00:00');
}

/** A range in words. */
export function describe(from: string, to: string, utc: boolean): string {
  const [, n, unit] = (to === 'now' && /^now-(\d+)([smhdw])$/.exec(from)) || [];
  if (n && unit) return 'Last ' + (n === '1' ? UNITS[unit] : `${n} ${UNITS[unit]}s`);
  const name = (text: string) => (isRelative(text) ? text : instant(Number(text), utc));
  return `${name(from)} – ${name(to)}`;
}
