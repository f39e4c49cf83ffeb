// The same view, asked from a shell.

import { address, paramsOf, type Params, type Selection } from '../api/address';

const quoted = (s: string): string => `'${s.replaceAll("'", `'\\''`)}'`;

const absolute = (relative: string): string => new URL(relative, location.href).href;

export function pprofURL(s: Selection, more: Params): string {
  return address('pprof', { ...paramsOf(s), ...more });
}

export function goToolPprof(s: Selection, more: Params): string {
  return `go tool pprof -http :8081 ${quoted(decodeReadably(absolute(pprofURL(s, more))))}`;
}

export function coldframeGet(s: Selection): string {
  const iso = (ms: number) => new Date(ms).toISOString();
  const server = absolute('.').replace(/\/$/, '');
  return `coldframe get --server ${server} --from ${iso(s.from)} --to ${iso(s.to)}${s.type ? ' --type ' + s.type : ''} --format top ${quoted(s.query)}`;
}

/** A URL that a shell and net/http take, with the letters left readable that need no escape inside quotes. */
function decodeReadably(url: string): string {
  return url.replaceAll('%7B', '{').replaceAll('%7D', '}').replaceAll('%3A', ':').replaceAll('%2C', ',').replaceAll('%22', '"').replaceAll('%3D', '=').replaceAll('%7E', '~');
}
