// How questions are written. Paths are relative, so that the page works below any prefix.

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

export const typesParams = (range: { from: number; to: number }): Params => ({ from: seconds(range.from), to: seconds(range.to) });

/** Nodes asked for: more than a screen has room for, few enough to be drawn at once. */
export const MAX_NODES = 200_000;

export const flamegraphParams = (s: Selection, more: Params): Params => ({ ...paramsOf(s), format: 'arrow', max_nodes: MAX_NODES, ...more });
