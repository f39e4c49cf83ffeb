// Asking the server that the page came from. Paths are relative, so that the page works below any prefix.

import { probe } from '../probe';
import type { Tree } from '../tree/tree';
import type { FlamegraphHead, SeriesList, Stats, TypeList } from './answers';
import { treeOf } from './arrow';

/** A failure that the server explained, or that kept it from answering. */
export class Failure extends Error {
  constructor(readonly code: string, message: string, readonly field = '') {
    super(message);
  }
}

/** What is selected: a selector, a profile type, a range in milliseconds. */
export interface Selection {
  query: string;
  type: string;
  from: number;
  to: number;
}

export type Params = Record<string, string | string[] | number | undefined>;

export function paramsOf(s: Selection): Params {
  return { query: s.query, type: s.type || undefined, from: seconds(s.from), to: seconds(s.to) };
}

/** An instant as the API reads it. */
export const seconds = (ms: number): string => (ms / 1000).toFixed(3);

/** A relative address of the API. */
export function address(path: string, params: Params): string {
  const list = new URLSearchParams();
  for (const [name, v] of Object.entries(params)) {
    for (const one of Array.isArray(v) ? v : [v]) if (one !== undefined && one !== '') list.append(name, String(one));
  }
  const text = list.toString();
  return `api/v1/${path}${text && '?' + text}`;
}

async function request(path: string, params: Params, signal: AbortSignal): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(address(path, params), { signal });
  } catch (err) {
    if (signal.aborted) throw err;
    throw new Failure('unreachable', 'The server does not answer. Is it still running, and is the network there?');
  }
  if (!response.ok) throw await failureOf(response);
  return response;
}

async function failureOf(response: Response): Promise<Failure> {
  const text = await response.text();
  try {
    const { error } = JSON.parse(text);
    return new Failure(error.code, error.message, error.field);
  } catch {
    return new Failure(response.status === 404 ? 'not_found' : 'internal', text.slice(0, 300) || `The server answered ${response.status}.`);
  }
}

async function json<T>(path: string, params: Params, signal: AbortSignal): Promise<T> {
  return (await request(path, params, signal)).json();
}

export const types = (range: { from: number; to: number }, signal: AbortSignal) =>
  json<TypeList>('types', { from: seconds(range.from), to: seconds(range.to) }, signal);

export const labelNames = (s: Selection, signal: AbortSignal) => json<{ names: string[] }>('labels', paramsOf(s), signal);

export const labelValues = (name: string, s: Selection, signal: AbortSignal) =>
  json<{ values: string[] }>(`label/${encodeURIComponent(name)}/values`, paramsOf(s), signal);

export const series = (s: Selection, more: Params, signal: AbortSignal) => json<SeriesList>('series', { ...paramsOf(s), ...more }, signal);

export const get = json;

/** A flame graph with what its answer said of it. */
export interface Flamegraph extends FlamegraphHead {
  tree: Tree;
}

/** Nodes asked for: more than a screen has room for, few enough to be drawn at once. */
export const MAX_NODES = 200_000;

/** Asks for a flame graph, and says how long reading its bytes took. */
export async function flamegraph(s: Selection, more: Params, signal: AbortSignal): Promise<Flamegraph> {
  const response = await request('flamegraph', { ...paramsOf(s), format: 'arrow', max_nodes: MAX_NODES, ...more }, signal);
  const bytes = new Uint8Array(await response.arrayBuffer());
  probe.bytesAt = performance.now();
  return treeOf(bytes);
}

/** The price of several answers together. */
export function sum(all: Stats[]): Stats {
  const total: Stats = { blocks: 0, ok: 0, missing: [], profiles: 0, requests: 0, bytes: 0, cache_hits: 0, cpu_ms: 0, ms: 0 };
  for (const s of all) {
    for (const key of ['blocks', 'ok', 'profiles', 'requests', 'bytes', 'cache_hits', 'cache_bytes', 'cpu_ms'] as const) total[key] = (total[key] ?? 0) + (s[key] ?? 0);
    total.ms = Math.max(total.ms, s.ms); // they were asked at once
    total.missing = total.missing.concat(s.missing);
    if (s.dollars !== undefined) total.dollars = (total.dollars ?? 0) + s.dollars;
  }
  return total;
}
