import { useEffect, useMemo, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import { axisTime, instant, ratio, value } from '../format';
import { oklch } from '../flame/palette';
import { probe } from '../probe';

export interface Line {
  label: string;
  points: [number, number][]; // milliseconds, and the total of the step that begins there
}

interface ChartProps {
  lines: Line[]; // the same array as long as they say the same: another one draws the chart anew, which ends a drag
  stepMs: number;
  from: number;
  to: number;
  unit: string;
  level: boolean; // values are levels, as memory in use, and not amounts that add up
  utc: boolean;
  dark: boolean;
  selected: [number, number] | null; // milliseconds
  onSelect(from: number, to: number): void;
  onLine(label: string): void;
  label?: string;
}

const HEIGHT = 122;

/** Colours of lines, all told apart at a glance; the first is the page's own. */
export const lineColor = (k: number, dark: boolean): string => oklch(dark ? 0.74 : 0.55, 0.12, (200 + k * 137.5) % 360);

/** Totals over time. Drag to select a range; click to pin a step; with the keyboard, arrows move a step, Shift widens. */
export function Chart(props: ChartProps) {
  const { lines, stepMs, from, to, utc, dark, selected } = props;
  const box = useRef<HTMLDivElement>(null), plot = useRef<uPlot | null>(null), readout = useRef<HTMLSpanElement>(null);
  const latest = useRef(props);
  latest.current = props;

  const table = useMemo(() => tabulate(lines, stepMs, from, to, scaleOf(props)), [lines, stepMs, from, to, props.unit, props.level]);

  useEffect(() => {
    const el = box.current!, axis = dark ? '#93a0ac' : '#5a6772', grid = dark ? '#222a32' : '#edf0f3';
    const many = lines.length > 1;
    const u = new uPlot(
      {
        width: Math.max(200, el.clientWidth),
        height: HEIGHT,
        padding: [8, 8, 0, 0],
        legend: { show: false },
        tzDate: (s) => (utc ? uPlot.tzDate(new Date(s * 1000), 'UTC') : new Date(s * 1000)),
        cursor: { y: false, dataIdx: nearest, drag: { x: true, y: false, setScale: false, dist: 4 }, points: { size: 6 } },
        scales: { x: { time: true, range: [from / 1000, to / 1000] }, y: { range: (_, _min, max) => [0, max > 0 ? max * 1.08 : 1] } },
        series: [
          {},
          ...lines.map((line, k) => ({
            label: line.label,
            stroke: lineColor(k, dark),
            width: many ? 1.25 : 1.5,
            ...(!many && { fill: lineColor(k, dark) + (dark ? '26' : '1c') }),
            points: { show: (table.known[k] ?? 0) < 40, size: 4 },
            spanGaps: false,
          })),
        ],
        axes: [
          {
            stroke: axis, grid: { stroke: grid, width: 1 }, ticks: { show: false }, size: 24, space: 70, font: '11px system-ui, sans-serif',
            values: (_, splits) => splits.map((s) => axisTime(s * 1000, latest.current.utc, to - from)),
          },
          {
            stroke: axis, grid: { stroke: grid, width: 1 }, ticks: { show: false }, size: 74, font: '11px system-ui, sans-serif', space: 26,
            values: (_, splits) => splits.map((v) => told(v, latest.current)),
          },
        ],
        hooks: {
          setSelect: [
            (u) => {
              if (plot.current !== u || u.select.width < 4) return; // a chart that is gone still hears the button let go
              const a = u.posToVal(u.select.left, 'x') * 1000, b = u.posToVal(u.select.left + u.select.width, 'x') * 1000;
              latest.current.onSelect(Math.round(a), Math.round(b));
            },
          ],
          setCursor: [(u) => tell(u)],
        },
      },
      [table.xs, ...table.ys] as uPlot.AlignedData,
      el,
    );
    plot.current = u;
    u.over.addEventListener('click', () => {
      const { idx, left } = u.cursor;
      if (idx == null || left == null || left < 0 || u.select.width >= 4) return;
      const at = u.data[0]![idx]! * 1000;
      latest.current.onSelect(at, at + stepMs);
    });
    show();
    probe.chart = { lines: lines.length, steps: table.xs.length, unit: props.unit };
    const watch = new ResizeObserver(() => {
      u.setSize({ width: Math.max(200, el.clientWidth), height: HEIGHT });
      show();
    });
    watch.observe(el);
    return () => {
      watch.disconnect();
      u.destroy();
      plot.current = null;
    };
  }, [table, dark, utc, lines]);

  const show = () => {
    const u = plot.current, s = latest.current.selected;
    if (!u) return;
    const left = s ? u.valToPos(s[0] / 1000, 'x') : 0;
    u.root.parentElement?.classList.toggle('selected', s !== null);
    u.setSelect({ left, width: s ? Math.max(2, u.valToPos(s[1] / 1000, 'x') - left) : 0, top: 0, height: u.over.clientHeight }, false);
  };
  useEffect(show, [selected?.[0], selected?.[1]]);

  const tell = (u: uPlot) => {
    const out = readout.current, p = latest.current, idx = u.cursor.idx;
    if (!out) return;
    if (idx == null || (u.cursor.left ?? -1) < 0) {
      out.textContent = '';
      return;
    }
    const at = u.data[0]![idx]! * 1000;
    const values = p.lines.map((line, k) => ({ line, v: u.data[k + 1]![nearest(u, k + 1, idx)] })).filter((x) => x.v != null);
    values.sort((a, b) => b.v! - a.v!);
    const parts = values.slice(0, 3).map(({ line, v }) => (line.label ? line.label + ' ' : '') + told(v!, p));
    out.textContent = `${instant(at, p.utc)}  ${parts.join(' · ') || 'no profiles'}${values.length > 3 ? ` · and ${values.length - 3} more` : ''}`;
  };

  const onKey = (e: KeyboardEvent) => {
    const step = e.key === 'ArrowRight' ? stepMs : e.key === 'ArrowLeft' ? -stepMs : 0;
    if (!step || e.ctrlKey || e.metaKey || e.altKey) return;
    e.preventDefault();
    const last = Math.floor((to - 1) / stepMs) * stepMs;
    const [a, b] = selected ?? (step > 0 ? [from - stepMs, from] : [last + stepMs, last + 2 * stepMs]);
    const moved: [number, number] = e.shiftKey ? [a, Math.max(a + stepMs, b + step)] : [a + step, b + step];
    if (moved[0] >= from - stepMs && moved[0] < to) props.onSelect(moved[0], moved[1]);
  };

  return (
    <div class="chart">
      <div
        class="chart-plot"
        ref={box}
        tabIndex={0}
        role="application"
        aria-roledescription="time series"
        aria-label={`${props.label ?? 'Totals over time'}: ${lines.length === 1 ? 'one line' : lines.length + ' lines'}. Left and right select a step, with Shift they widen the selection.`}
        onKeyDown={onKey}
      />
      <div class="chart-below">
        {lines.length > 1 && (
          <ul class="legend" aria-label="Lines">
            {lines.slice(0, 12).map((line, k) => (
              <li key={line.label}>
                <button class="plain" title={`Select ${line.label}`} onClick={() => props.onLine(line.label)}>
                  <i style={{ background: lineColor(k, dark) }} />
                  {line.label || '(none)'}
                </button>
              </li>
            ))}
            {lines.length > 12 && <li class="quiet">and {lines.length - 12} more</li>}
          </ul>
        )}
        <span class="chart-readout" ref={readout} />
      </div>
    </div>
  );
}

/** What a value of a step is multiplied with to be what the chart shows: cores of nanoseconds, else so much a second; levels are themselves. */
function scaleOf({ unit, level, stepMs }: ChartProps): number {
  return level ? 1 : (unit === 'nanoseconds' ? 1e-9 : 1) / (stepMs / 1000);
}

function told(v: number, { unit, level }: ChartProps): string {
  if (level) return value(v, unit);
  return unit === 'nanoseconds' ? ratio(v) + (ratio(v) === '1' ? ' core' : ' cores') : value(v, unit) + '/s';
}

interface Table {
  xs: number[];
  ys: (number | null | undefined)[][];
  known: number[]; // steps that have a value, by line
}

/**
 * The lines on the steps of the range. A step without a profile is passed over (undefined) where
 * profiles come less often than steps; a gap of many times that is shown as one (null).
 */
function tabulate(lines: Line[], stepMs: number, from: number, to: number, scale: number): Table {
  const first = Math.floor(from / stepMs) * stepMs, xs: number[] = [];
  for (let at = first; at < to && xs.length < 11_000; at += stepMs) xs.push(at / 1000);
  const known: number[] = [];
  const ys = lines.map((line) => {
    const y = new Array<number | null | undefined>(xs.length).fill(undefined);
    const at = line.points.map(([t]) => Math.round((t - first) / stepMs));
    const steps = at.slice(1).map((i, k) => i - at[k]!).sort((a, b) => a - b);
    const usual = steps[Math.floor(steps.length / 2)] ?? 1;
    line.points.forEach(([, v], k) => {
      if (at[k]! < 0 || at[k]! >= y.length) return;
      y[at[k]!] = v * scale;
      if (k > 0 && at[k]! - at[k - 1]! > 4 * usual) y[at[k - 1]! + 1] = null;
    });
    known.push(line.points.length);
    return y;
  });
  return { xs, ys, known };
}

/** The step nearest to the pointer that has a value. */
function nearest(u: uPlot, line: number, at: number): number {
  const y = u.data[line]!;
  if (line === 0 || y[at] != null) return at;
  for (let k = 1; k < 12; k++) {
    if (y[at - k] != null) return at - k;
    if (y[at + k] != null) return at + k;
  }
  return at;
}
