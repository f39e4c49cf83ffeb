// Asking the server that the page came from.

import { probe } from '../probe';
import type { Tree } from '../tree/tree';
import { address, flamegraphParams, paramsOf, typesParams, type Params, type Selection } from './address';
import { take } from './ahead';
import type { FlamegraphHead, SeriesList, TypeList } from './answers';
import { treeOf } from './arrow';

export * from './address';

/** A failure that the server explained, or that kept it from answering. */
export class Failure extends Error {
  constructor(readonly code: string, message: string, readonly field = '') {
    super(message);
  }
}

async function request(path: string, params: Params, signal: AbortSignal): Promise<Response> {
  let response: Response;
  try {
    response = await take(address(path, params), signal);
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

export const types = (range: { from: number; to: number }, signal: AbortSignal) => json<TypeList>('types', typesParams(range), signal);

export const labelNames = (s: Selection, signal: AbortSignal) => json<{ names: string[] }>('labels', paramsOf(s), signal);

export const labelValues = (name: string, s: Selection, signal: AbortSignal) =>
  json<{ values: string[] }>(`label/${encodeURIComponent(name)}/values`, paramsOf(s), signal);

export const series = (s: Selection, more: Params, signal: AbortSignal) => json<SeriesList>('series', { ...paramsOf(s), ...more }, signal);

export const get = json;

/** A flame graph with what its answer said of it. */
export interface Flamegraph extends FlamegraphHead {
  tree: Tree;
}

/** Asks for a flame graph, and says how long reading its bytes took. */
export async function flamegraph(s: Selection, more: Params, signal: AbortSignal): Promise<Flamegraph> {
  const response = await request('flamegraph', flamegraphParams(s, more), signal);
  const bytes = new Uint8Array(await response.arrayBuffer());
  probe.bytesAt = performance.now();
  return treeOf(bytes);
}
