// The page's state is its address, all of it: what is not in the URL is not state. A link is
// the view, reload restores it, and back and forward walk through what was looked at.

import { useEffect, useState } from 'preact/hooks';
import { read, type State } from './read';

export type { State };

export type Patch = Record<string, string | number | undefined>;

let current = read();
const watchers = new Set<() => void>();

function tell() {
  for (const w of watchers) w();
}

addEventListener('popstate', () => {
  current = read();
  tell();
});

/** The address with some of its parameters changed; undefined and "" take one away. */
export function link(patch: Patch, from: State = current): string {
  const next = new URLSearchParams({ ...from });
  for (const [name, v] of Object.entries(patch)) {
    if (v === undefined || v === '') next.delete(name);
    else next.set(name, String(v));
  }
  return next.size ? '?' + next.toString().replaceAll('%2C', ',').replaceAll('%3A', ':').replaceAll('%2F', '/') : location.pathname;
}

/** Goes there. A step of its own in the browser's history, unless it replaces the present one, as while typing. */
export function go(patch: Patch, how: 'push' | 'replace' = 'push'): void {
  const to = link(patch);
  if (to === (location.search || location.pathname)) return;
  history[how === 'push' ? 'pushState' : 'replaceState'](null, '', to);
  current = read();
  tell();
}

/** The present state, of which the component is told when it changes. */
export function useURL(): State {
  const [, again] = useState(0);
  useEffect(() => {
    const w = () => again((n) => n + 1);
    watchers.add(w);
    return () => void watchers.delete(w);
  }, []);
  return current;
}

/** What people choose once and for all: kept by the browser, and overruled by the URL. */
export function preferred(name: string, state: State = current): string {
  return state[name] ?? localStorage.getItem('coldframe.' + name) ?? '';
}

export function prefer(name: string, v: string): void {
  localStorage.setItem('coldframe.' + name, v);
  go({ [name]: undefined }, 'replace');
  tell();
}
