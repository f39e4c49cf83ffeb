import { useEffect, useMemo } from 'preact/hooks';
import * as api from '../api/client';
import type { SeriesList } from '../api/answers';
import { plural, share, value } from '../format';
import { lineColor } from '../parts/chart';
import { Link } from '../parts/link';
import { Empty, Price, Result } from '../parts/result';
import { parse, withMatcher } from '../selector/grammar';
import { useAnswer } from '../state/answer';
import { go } from '../state/url';
import { QueryBar, useSuggest, useTypes } from './explore';
import { keyOf, rangeOf, selectionOf, type Page } from './page';
import { isLevel, shortType, unitOf } from './types';

/** Labels to begin with: what people split a fleet by. */
const LIKELY = ['service_name', 'service', 'job', 'comm', 'namespace', 'pod', 'node', 'instance'];

/** Which values of a label account for what share. */
export function LabelsView({ page }: { page: Page }) {
  const { state, now } = page;
  const range = useMemo(() => rangeOf(state.from, state.to, now), [state.from, state.to, now]);
  const { types, type } = useTypes(page, range);
  const selection = selectionOf(state.query ?? '', type, range), level = isLevel(type);
  const names = useAnswer(type ? keyOf(selection) : null, (signal) => api.labelNames(selection, signal));
  const all = names.value?.names ?? [];
  const label = state.label ?? LIKELY.find((name) => all.includes(name)) ?? all[0] ?? '';
  const series = useAnswer(type && label ? keyOf(selection, label) : null, (signal) => api.series(selection, { by: label, aggregate: level ? 'last' : undefined }, signal));
  const suggest = useSuggest(selection);

  useEffect(() => {
    document.title = `${label ? label + ' · ' : ''}labels · coldframe`;
  }, [label]);

  return (
    <main class="labels">
      <QueryBar page={page} range={range} types={types} type={type} suggest={suggest} refused={series.failure instanceof api.Failure && series.failure.field === 'query' ? series.failure.message : ''} />
      <section class="panel">
        <div class="section-head">
          <h2>Where {type ? shortType(type) : '…'} comes from, by</h2>
          <ul class="names" aria-label="Labels">
            {all.map((name) => (
              <li key={name}>
                <button aria-pressed={name === label} onClick={() => go({ label: name })}>
                  {name}
                </button>
              </li>
            ))}
          </ul>
        </div>
        <Result answer={series} what="the shares">
          {(list) => (list.series.length ? <Shares page={page} list={list} label={label} unit={unitOf(type) || list.unit} level={level} /> : <Empty title="Nothing here"><p>No profile of this type matches the selector in this range.</p></Empty>)}
        </Result>
        {names.value && all.length === 0 && (
          <Empty title="No labels">
            <p>What is selected has none. Choose a longer range, or push with labels: <code>coldframe push --label service_name=api cpu.pb.gz</code></p>
          </Empty>
        )}
        {series.value && <Price stats={series.value.stats} />}
      </section>
    </main>
  );
}

interface SharesProps {
  page: Page;
  list: SeriesList;
  label: string;
  unit: string;
  level: boolean;
}

function Shares({ page, list, label, unit, level }: SharesProps) {
  const rows = useMemo(() => {
    const total = (points: [number, number][]) => points.reduce((sum, [, v]) => sum + v, 0) / (level ? points.length || 1 : 1);
    return list.series.map((s) => ({ value: s.labels[label] ?? '', total: total(s.points), points: s.points })).sort((a, b) => b.total - a.total);
  }, [list, label, level]);
  const whole = rows.reduce((sum, r) => sum + r.total, 0), largest = rows[0]!.total;
  const query = page.state.query ?? '';
  const explore = (v: string) => ({ view: undefined, label: undefined, query: withMatcher(query, label, v) });
  const compare = (v: string) => ({ view: 'compare', label: undefined, query: withMatcher(query, label, v), bquery: withMatcher(query, label, v, '!='), bfrom: page.state.from ?? 'now-1h', bto: page.state.to ?? 'now' });
  const known = !parse(query).mistake;
  return (
    <div class="scroll" role="region" aria-label="Shares" tabIndex={0}>
      <table class="list">
        <caption class="unseen">Shares of the values of {label}</caption>
        <thead>
          <tr>
            <th>{label}</th>
            <th class="number">{level ? 'Mean' : 'Total'}</th>
            <th class="share">Share of {value(whole, unit)}</th>
            <th class="spark">Over time</th>
            <th><span class="unseen">Actions</span></th>
          </tr>
        </thead>
        <tbody>
          {rows.slice(0, 500).map((r, k) => (
            <tr key={r.value}>
              <td class="code">
                {known ? <Link to={explore(r.value)}>{r.value || '(none)'}</Link> : r.value || '(none)'}
              </td>
              <td class="number">{value(r.total, unit)}</td>
              <td class="share">
                <i style={{ width: (100 * r.total) / (largest || 1) + '%' }} />
                <span>{share(r.total, whole)}</span>
              </td>
              <td class="spark">
                <Spark points={r.points} from={Date.parse(list.from)} to={Date.parse(list.to)} color={lineColor(k % 12, page.dark)} />
              </td>
              <td class="number">
                <Link to={compare(r.value)} title={`Compare ${r.value} with all the others`}>
                  against the rest
                </Link>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      <p class="quiet below">
        {plural(rows.length, 'value')}
        {rows.length > 500 && ', of which the 500 largest are shown'}
      </p>
    </div>
  );
}

const WIDE = 180, HIGH = 20;

/** A line the size of a word. */
function Spark({ points, from, to, color }: { points: [number, number][]; from: number; to: number; color: string }) {
  const max = Math.max(...points.map(([, v]) => v), 1);
  const at = points.map(([t, v]) => [(WIDE * (t - from)) / (to - from), HIGH - 1 - ((HIGH - 2) * v) / max] as const);
  const line = at.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(' ');
  return (
    <svg width={WIDE} height={HIGH} viewBox={`0 0 ${WIDE} ${HIGH}`} aria-hidden="true">
      {at.length > 1 ? <polyline points={line} fill="none" stroke={color} stroke-width="1.25" stroke-linejoin="round" /> : at.map(([x, y]) => <circle key={x} cx={x} cy={y} r="2" fill={color} />)}
    </svg>
  );
}
