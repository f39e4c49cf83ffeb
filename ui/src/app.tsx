import { useCallback, useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { opening } from './api/ahead';
import { Link } from './parts/link';
import { MenuButton } from './parts/menu';
import { go, prefer, preferred, useURL } from './state/url';
import { isRelative } from './state/time';
import { Compare } from './views/compare';
import { Explore } from './views/explore';
import { LabelsView } from './views/labels';
import { Operate } from './views/operate';
import type { Page } from './views/page';

const VIEWS: [string, string][] = [['explore', 'Explore'], ['compare', 'Compare'], ['labels', 'Labels'], ['operate', 'Operate']];
const EVERY: [string, string, number][] = [['', 'off', 0], ['5s', '5 s', 5e3], ['15s', '15 s', 15e3], ['1m', '1 min', 6e4]];

/** The parameters that views share; the others stay with the view they belong to. */
const SHARED = ['query', 'type', 'from', 'to', 'filter', 'hide', 'refresh', 'theme', 'tz'];

export function App() {
  const state = useURL(), view = state.view || 'explore';
  const [now, setNow] = useState(opening.at);
  const [word, setWord] = useState(''), help = useRef<HTMLDialogElement>(null), timer = useRef(0);
  const theme = preferred('theme', state), system = useMedia('(prefers-color-scheme: dark)');
  const dark = theme === 'dark' || (theme !== 'light' && system);
  const utc = preferred('tz', state) === 'utc';

  const refresh = useCallback(() => setNow(Date.now()), []);
  const say = useCallback((text: string) => {
    setWord(text);
    clearTimeout(timer.current);
    timer.current = window.setTimeout(() => setWord(''), 3000);
  }, []);

  useEffect(() => {
    document.documentElement.dataset.theme = dark ? 'dark' : 'light';
  }, [dark]);
  useEffect(() => {
    const period = EVERY.find(([v]) => v === state.refresh)?.[2];
    if (!period || !isRelative(state.to ?? 'now')) return;
    const every = setInterval(() => document.hidden || refresh(), period);
    return () => clearInterval(every);
  }, [state.refresh, state.to]);

  const setTheme = () => prefer('theme', dark ? 'light' : 'dark');
  const setUTC = (on: boolean) => prefer('tz', on ? 'utc' : 'local');
  useShortcuts({
    '/': () => document.getElementById('search')?.focus(),
    '?': () => help.current?.showModal(),
    r: refresh,
    t: setTheme,
    u: () => setUTC(!utc),
    i: () => go({ inv: state.inv ? undefined : '1' }),
    f: () => go({ flip: state.flip ? undefined : '1' }),
    c: () => go({ fold: state.fold ? undefined : '1' }),
    Escape: () => go(state.sandwich ? { sandwich: undefined } : state.fn ? { fn: undefined } : state.zoom ? { zoom: undefined } : { a: undefined, b: undefined }),
    ...Object.fromEntries(VIEWS.map(([v], k) => [String(k + 1), () => go(viewPatch(state, v))])),
  });

  const page: Page = useMemo(() => ({ state, now, refresh, dark, utc, setUTC, say }), [state, now, dark, utc]);
  return (
    <>
      <header>
        <Link class="brand" to={Object.fromEntries(Object.keys(state).map((k) => [k, undefined]))}>
          <svg viewBox="0 0 16 12" width="18" height="14" aria-hidden="true">
            <path class="e1" d="M0 0h16v3H0z" />
            <path class="e2" d="M0 4.5h10v3H0z" />
            <path class="e3" d="M0 9h5v3H0z" />
          </svg>
          coldframe
        </Link>
        <h1 class="unseen">coldframe: {VIEWS.find(([v]) => v === view)?.[1] ?? 'Explore'}</h1>
        <nav aria-label="Views">
          {VIEWS.map(([v, name]) => (
            <Link key={v} to={viewPatch(state, v)} current={view === v}>
              {name}
            </Link>
          ))}
        </nav>
        <span class="header-end">
          <span class="buttons">
            <button onClick={refresh} title="Ask again (R)">
              ⟳<span class="wide"> Refresh</span>
            </button>
            <MenuButton label={<>{state.refresh || 'off'} <span aria-hidden="true">▾</span></>} title={`Refresh by itself: ${state.refresh || 'off'}`} items={EVERY.map(([v, name]) => ({ name, checked: (state.refresh ?? '') === v, do: () => go({ refresh: v }) }))} />
          </span>
          <button onClick={() => setUTC(!utc)} title="Show times in UTC or in local time (U)">
            {utc ? 'UTC' : 'Local'}
          </button>
          <button onClick={setTheme} title={`${dark ? 'Light' : 'Dark'} theme (T)`} aria-label={`${dark ? 'Light' : 'Dark'} theme`}>
            {dark ? '☀' : '☾'}
          </button>
          <button onClick={() => help.current?.showModal()} title="Keys (?)" aria-label="Keys">
            ?
          </button>
        </span>
      </header>
      {view === 'compare' ? <Compare page={page} /> : view === 'labels' ? <LabelsView page={page} /> : view === 'operate' ? <Operate page={page} /> : <Explore page={page} />}
      <p class="word" role="status">{word}</p>
      <Help dialog={help} />
    </>
  );
}

/** What changes when a view is gone to: parameters of the others are left behind. */
function viewPatch(state: Readonly<Record<string, string>>, view: string): Record<string, string | undefined> {
  const gone = Object.fromEntries(Object.keys(state).filter((k) => !SHARED.includes(k)).map((k) => [k, undefined]));
  return { ...gone, view: view === 'explore' ? undefined : view };
}

function useMedia(query: string): boolean {
  const media = useMemo(() => matchMedia(query), [query]);
  const [matches, set] = useState(media.matches);
  useEffect(() => {
    const tell = () => set(media.matches);
    media.addEventListener('change', tell);
    return () => media.removeEventListener('change', tell);
  }, [media]);
  return matches;
}

function useShortcuts(keys: Record<string, () => void>) {
  const latest = useRef(keys);
  latest.current = keys;
  useEffect(() => {
    const press = (e: KeyboardEvent) => {
      const on = e.target as Element;
      if (e.defaultPrevented || e.ctrlKey || e.metaKey || e.altKey || on.closest('input, textarea, select, dialog[open], [role=menu], [role=dialog]')) return;
      const act = latest.current[e.key];
      if (!act) return;
      e.preventDefault();
      act();
    };
    addEventListener('keydown', press);
    return () => removeEventListener('keydown', press);
  }, []);
}

const KEYS: [string, string][] = [
  ['/', 'search functions'],
  ['1 2 3 4', 'Explore, Compare, Labels, Operate'],
  ['R', 'ask again'],
  ['F  I  C', 'flame or icicles; invert; fold recursion'],
  ['U  T', 'UTC or local time; dark or light'],
  ['Esc', 'one step back: selection, zoom, range'],
];
const GRAPH_KEYS: [string, string][] = [
  ['← → ↑ ↓', 'move between frames'],
  ['Enter', 'zoom'],
  ['Backspace', 'zoom out by one'],
  ['S', 'callers and callees'],
  ['M', 'everything else that can be done with a frame; also the right mouse button'],
];
const CHART_KEYS: [string, string][] = [
  ['← →', 'pin a step; with Shift, more of them'],
  ['drag', 'select a range'],
];

function Help({ dialog }: { dialog: { current: HTMLDialogElement | null } }) {
  const list = (title: string, keys: [string, string][]) => (
    <>
      <h3>{title}</h3>
      <dl>
        {keys.map(([key, what]) => (
          <div key={key}>
            <dt>{key.split('  ').map((k) => <kbd key={k}>{k}</kbd>)}</dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
    </>
  );
  return (
    <dialog ref={dialog} class="help" aria-label="Keys" onClick={(e) => e.target === e.currentTarget && e.currentTarget.close()}>
      <form method="dialog">
        <h2>Keys</h2>
        {list('Everywhere', KEYS)}
        {list('In the graph', GRAPH_KEYS)}
        {list('In the chart', CHART_KEYS)}
        <button class="primary">Close</button>
      </form>
    </dialog>
  );
}
