import type { Params, Selection } from '../api/client';
import { canonical } from '../selector/grammar';
import type { State } from '../state/url';
import { when, type Range } from '../state/time';

/** What every view gets of the page around it. */
export interface Page {
  state: State;
  now: number; // as of the last refresh
  refresh(): void;
  dark: boolean;
  utc: boolean;
  setUTC(utc: boolean): void;
  say(text: string): void; // a short word at the edge of the page, which goes by itself
}

export const DEFAULT_FROM = 'now-1h';

/** The range that parameters of the URL mean. What is no instant is as if it were not there. */
export function rangeOf(from: string | undefined, to: string | undefined, now: number): Range {
  const end = when(to ?? 'now', now), t = Number.isNaN(end) ? now : end;
  const start = when(from ?? DEFAULT_FROM, now);
  return { from: Number.isNaN(start) || start >= t ? t - 36e5 : start, to: t };
}

/** A selector with its own type, as process_cpu:cpu:nanoseconds:cpu:nanoseconds:delta{…}, needs no other. */
export function selectionOf(query: string, type: string, range: Range): Selection {
  const text = canonical(query);
  return { query: text, type: text.startsWith('{') ? type : '', ...range };
}

export const keyOf = (...parts: (Selection | Params | string | number | undefined)[]): string => JSON.stringify(parts);
