import type { JSX } from 'preact';
import { useMemo, useRef, useState } from 'preact/hooks';
import * as api from '../api/client';
import { Flame } from '../flame/flame';
import { axisTime, instant, plural, value } from '../format';
import { ActionMenu, MenuButton } from '../parts/menu';
import { probe } from '../probe';
import { useAnswer } from '../state/answer';
import { stepOf } from '../state/time';
import { go } from '../state/url';
import { search } from '../tree/find';
import { shortName } from '../tree/names';
import { laidOut } from '../tree/steps';
import { follow, framesNamed, pathOf, type Tree } from '../tree/tree';
import { keyOf, type Page } from './page';
import { actions, colorByOf, Legend } from './stacks';

interface OverTimeProps {
  page: Page;
  tree: Tree; // grouped by steps of time
  selection: api.Selection; // that the tree is of
  unit: string;
  names: string[]; // of labels
}

/** The stacks of each moment side by side: a flame chart. Dragging over it, or pressing a column, selects time. */
export function OverTime({ page, tree, selection, unit, names }: OverTimeProps) {
  const { state, dark, utc } = page, { from, to } = selection, stepMs = stepOf(selection), chosen = state.fn ?? '';
  const { tree: t, begins, columnMs } = useMemo(() => laidOut(tree, from, to, stepMs, (ms) => instant(ms, utc)), [tree, from, to, stepMs, utc]);
  const [menu, setMenu] = useState<{ node: number; x: number; y: number } | null>(null);
  const root = useMemo(() => follow(t, state.zoom ?? ''), [t, state.zoom]);
  const marked = useMemo(() => (chosen ? framesNamed(t, chosen) : null) ?? search(t, state.q ?? '')?.frames ?? null, [t, state.q, chosen]);
  probe.steps = { columns: begins.length, columnMs, stepMs };

  const zoomTo = (node: number) => {
    if (t.depth[node] === 1 && root === 0) {
      const at = begins[columnOf(t, node)]!, end = Math.min(to, at + columnMs);
      if (at > from || end < to) return go({ a: Math.max(at, Math.ceil(from)), b: end, zoom: undefined });
    }
    go({ zoom: pathOf(t, node) });
  };
  // A column that the drag begins in is meant whole.
  const select = (a: number, b: number) => {
    const column = begins.filter((begin) => begin <= a && a < begin + columnMs).at(-1) ?? a;
    go({ a: Math.max(Math.ceil(from), Math.round(column)), b: Math.round(b), zoom: undefined });
  };
  const open = (name: string) => go({ sandwich: name, show: 'graph', zoom: undefined });
  const shown = root > 0 ? null : { from, to };

  return (
    <div class="stacks show-graph over-steps">
      <div class="graph">
        <Series selection={selection} names={names} unit={unit} />
        {shown && <Axis from={from} to={to} utc={utc} />}
        <Draggable active={root === 0} onSelect={(a, b) => select(from + a * (to - from), from + b * (to - from))}>
          <Flame
            tree={t} unit={unit} label="Flame chart" rootName="all" root={root} onRoot={zoomTo} by={colorByOf(page)} flip={false} dark={dark} marked={marked}
            onMenu={(node, x, y) => setMenu({ node, x, y })} onSandwich={(n) => open(t.frames.name[t.frame[n]!]!)}
          />
        </Draggable>
        <div class="graph-below">
          {root > 0 && (
            <button onClick={() => go({ zoom: undefined })} title="Show all of the time (Escape)">
              ⤢ Reset zoom
            </button>
          )}
          <span class="quiet steps-hint">{plural(begins.length, 'column')} of {value(columnMs, 'milliseconds')}, each as wide as it spent. Drag to select time.</span>
          <Legend tree={tree} by={colorByOf(page)} dark={dark} />
        </div>
      </div>
      {menu && <ActionMenu x={menu.x} y={menu.y} title={shortName(t.frames.name[t.frame[menu.node]!]!)} onClose={() => setMenu(null)} items={actions(page, t, menu.node, () => zoomTo(menu.node), open)} />}
    </div>
  );
}

/** Which column a node of depth 1 is. */
function columnOf(t: Tree, node: number): number {
  let k = 0;
  for (let i = 1; i < node; i = t.end[i]!) k++;
  return k;
}

/** A chart of several series at once says so, and offers each. */
function Series({ selection, names, unit }: { selection: api.Selection; names: string[]; unit: string }) {
  const list = useAnswer(names.length ? keyOf(selection, ...names) : null, (signal) => api.series(selection, { by: names }, signal));
  const all = useMemo(() => {
    const sum = (points: [number, number][]) => points.reduce((total, [, v]) => total + v, 0);
    return (list.value?.series ?? []).map((s) => ({ labels: s.labels, total: sum(s.points) })).sort((a, b) => b.total - a.total);
  }, [list.value]);
  if (all.length < 2) return null;
  const differ = names.filter((name) => new Set(all.map((s) => s.labels[name] ?? '')).size > 1);
  const words = (labels: Record<string, string>, of: string[], quote = '"') => of.map((name) => `${name}=${quote}${(labels[name] ?? '').replace(/["\\]/g, '\\$&')}${quote}`).join(', ');
  return (
    <p class="steps-several">
      {plural(all.length, 'series', 'series')} are added up here. A flame chart tells most of one:
      <MenuButton
        label={<>Choose a series <span aria-hidden="true">▾</span></>}
        title="Show one series alone"
        items={all.slice(0, 40).map((s) => ({ name: words(s.labels, differ, '') || '(none)', hint: value(s.total, unit), do: () => go({ query: words(s.labels, names), zoom: undefined }) }))}
      />
    </p>
  );
}

/** Times above the columns. */
function Axis({ from, to, utc }: { from: number; to: number; utc: boolean }) {
  const every = stepOf({ from: 0, to: 14 * (to - from) }), zone = utc ? 0 : new Date(to).getTimezoneOffset() * 6e4; // eight at most, at round times
  const ticks: number[] = [];
  for (let at = Math.ceil((from - zone) / every) * every + zone; at < to; at += every) ticks.push(at);
  return (
    <div class="steps-axis" aria-hidden="true">
      {ticks.map((at) => (
        <span key={at} style={{ left: (100 * (at - from)) / (to - from) + '%' }}>
          {axisTime(at, utc, to - from)}
        </span>
      ))}
    </div>
  );
}

/** Selects a part of the width of what it holds, from 0 to 1, by dragging over it; a click goes through. */
function Draggable({ active, onSelect, children }: { active: boolean; onSelect(from: number, to: number): void; children: JSX.Element }) {
  const box = useRef<HTMLDivElement>(null), began = useRef<number | null>(null), dragged = useRef(false);
  const [band, setBand] = useState<[number, number] | null>(null);
  const place = (e: PointerEvent) => {
    const at = box.current!.querySelector('canvas')!.getBoundingClientRect();
    return Math.min(1, Math.max(0, (e.clientX - at.left) / at.width));
  };
  return (
    <div
      class="draggable"
      ref={box}
      onPointerDown={(e) => {
        dragged.current = false;
        began.current = active && e.button === 0 && e.pointerType !== 'touch' ? place(e) : null;
      }}
      onPointerMove={(e) => {
        if (began.current === null || !(e.buttons & 1)) return;
        const at = place(e);
        if (Math.abs(at - began.current) * box.current!.clientWidth < 5 && !dragged.current) return;
        dragged.current = true;
        setBand([Math.min(began.current, at), Math.max(began.current, at)]);
      }}
      onPointerUp={() => {
        began.current = null;
        setBand(null);
        if (dragged.current && band) onSelect(band[0], band[1]);
      }}
      onPointerLeave={() => {
        began.current = null;
        setBand(null);
      }}
      onClickCapture={(e) => dragged.current && e.stopPropagation()}
    >
      {children}
      {band && (
        <div class="drag-room">
          <div class="drag-band" style={{ left: 100 * band[0] + '%', width: 100 * (band[1] - band[0]) + '%' }} />
        </div>
      )}
    </div>
  );
}
