import type { Params, Selection } from '../api/address';
import { canonical } from '../selector/grammar';
import { fromURL, toAPI } from '../state/filters';
import type { State } from '../state/read';
import { stepOf, when, type Range } from '../state/time';
import { isLevel } from './types';

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

/** What Explore asks of the server, by the URL. */
export interface Questions {
  range: Range;
  known: boolean; // there is a type to ask for
  chart: Selection;
  pinned: [number, number] | null; // a part of the range that the graph is of
  graph: Selection;
  filters: { filter: string[]; frame_filter: string[] };
  chartMore: Params;
  graphMore: Params;
}

export function questionsOf(state: State, range: Range, type: string): Questions {
  const chart = selectionOf(state.query ?? '', type, range);
  const pinned: [number, number] | null = state.a && state.b ? [Number(state.a), Number(state.b)] : null;
  const filters = toAPI(fromURL(state)), graph = pinned ? { ...chart, from: pinned[0], to: pinned[1] } : chart;
  const stepMs = state.show === 'time' ? stepOf(graph) : 0, aggregate = isLevel(type) ? 'last' : undefined;
  return {
    range, chart, pinned, filters, graph,
    known: type !== '' || (chart.type === '' && chart.query[0] !== '{'),
    chartMore: { by: state.by, aggregate },
    graphMore: stepMs ? { ...filters, step: stepMs / 1000, aggregate } : { ...filters, group_by: state.group },
  };
}

export const keyOf = (...parts: (Selection | Params | string | number | undefined)[]): string => JSON.stringify(parts);
