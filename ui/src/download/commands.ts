// The same view, asked from a shell.

import { address, paramsOf, type Params, type Selection } from '../api/address';

/** What a view shows, as far as a command can ask for it. */
export interface Asked {
  selection: Selection;
  filters: { filter: string[]; frame_filter: string[] };
  group?: string | undefined; // a label
  sandwich?: string | undefined;
  invert?: boolean;
  last?: boolean; // of levels, the latest of each series
  base?: Selection; // that it is compared with
  absolute?: boolean;
}

const quoted = (s: string): string => `'${s.replaceAll("'", `'\\''`)}'`;

const absolute = (relative: string): string => new URL(relative, location.href).href;

export const pprofURL = (s: Selection, filters: Params): string => address('pprof', { ...paramsOf(s), ...filters });

export function goToolPprof({ selection, filters, base, absolute: asIs }: Asked): string {
  const url = (s: Selection) => quoted(decodeReadably(absolute(pprofURL(s, filters))));
  return `go tool pprof -http :8081 ${base ? `${asIs ? '' : '-normalize '}-diff_base ${url(base)} ` : ''}${url(selection)}`;
}

export function coldframeGet(a: Asked): string {
  const iso = (ms: number) => new Date(ms).toISOString(), s = a.selection, words = ['coldframe get'];
  const add = (flag: string, v: string | undefined) => v && words.push(`--${flag} ${/^[\w.:/,-]+$/.test(v) ? v : quoted(v)}`);
  add('server', absolute('.').replace(/\/$/, ''));
  add('from', iso(s.from));
  add('to', iso(s.to));
  add('type', s.type);
  for (const f of a.filters.filter) add('filter', f);
  for (const f of a.filters.frame_filter) add('frame-filter', f);
  add('group-by', a.group);
  add('sandwich', a.sandwich);
  if (a.invert) words.push('--invert');
  if (a.last) add('aggregate', 'last');
  if (a.base) {
    add('diff-from', iso(a.base.from));
    add('diff-to', iso(a.base.to));
    if (a.absolute) words.push('--diff-absolute');
  }
  add('format', a.group || a.sandwich || a.invert ? 'tree' : 'top');
  words.push(quoted(s.query));
  if (a.base && a.base.query !== s.query) words.push(quoted(a.base.query));
  return words.join(' ');
}

/** A URL that a shell and net/http take, with the letters left readable that need no escape inside quotes. */
function decodeReadably(url: string): string {
  return url.replaceAll('%7B', '{').replaceAll('%7D', '}').replaceAll('%3A', ':').replaceAll('%2C', ',').replaceAll('%22', '"').replaceAll('%3D', '=').replaceAll('%7E', '~');
}
