import { useCallback, useEffect, useMemo } from 'preact/hooks';
import * as api from '../api/client';
import type { SeriesList, TypeList } from '../api/answers';
import { together } from '../api/price';
import { instant, plural, value } from '../format';
import { Chart, type Line } from '../parts/chart';
import { MenuButton } from '../parts/menu';
import { RangeButton } from '../parts/range';
import { Empty, Price, Result } from '../parts/result';
import { TypeSelect } from '../parts/typeselect';
import { Selector } from '../selector/selector';
import { withMatcher, type Place } from '../selector/grammar';
import { useAnswer, type Answer } from '../state/answer';
import { isRelative } from '../state/time';
import { go } from '../state/url';
import { isTimed } from '../tree/steps';
import { ExportMenu } from './export';
import { OverTime } from './overtime';
import { keyOf, questionsOf, rangeOf, type Page } from './page';
import { Stacks, Toolbar, useShaped } from './stacks';
import { firstType, isLevel, shortType, unitOf } from './types';

/** The types of a range; the one to show is the URL's, else the likeliest. */
export function useTypes(page: Page, range: { from: number; to: number }): { types: Answer<TypeList>; type: string } {
  const types = useAnswer<TypeList>(keyOf(range.from, range.to), (signal) => api.types(range, signal));
  return { types, type: page.state.type ?? (types.value ? firstType(types.value.types) : '') };
}

/** Names and values for the selector. */
export function useSuggest(selection: api.Selection): (place: Place, signal: AbortSignal) => Promise<string[]> {
  const { type, from, to } = selection;
  return useCallback(
    async (place, signal) => {
      const all = { query: '{}', type, from, to };
      return place.kind === 'name' ? (await api.labelNames(all, signal)).names : (await api.labelValues(place.name, all, signal)).values;
    },
    [type, from, to],
  );
}

/**
 * Whether the first profiles are on their way or have just come. Then the page looks again by itself, every
 * few seconds, until there is a minute and a half of them: whoever has just started coldframe sees them come.
 */
function useYoung(page: Page, nothing: boolean, series: SeriesList | null): boolean {
  const { state, now, refresh } = page;
  const first = series ? Math.min(...series.series.map((s) => s.points[0]?.[0] ?? Infinity)) : Infinity;
  const young = isRelative(state.to ?? 'now') && !state.refresh && !state.a && (nothing || (first !== Infinity && first > now - 9e4));
  useEffect(() => {
    if (!young) return;
    const timer = setInterval(() => document.hidden || refresh(), nothing ? 2000 : 5000);
    return () => clearInterval(timer);
  }, [young, nothing]);
  return young;
}

/** One selection, over time and as a call tree. */
export function Explore({ page }: { page: Page }) {
  const { state, now, utc } = page;
  const range = useMemo(() => rangeOf(state.from, state.to, now), [state.from, state.to, now]);
  const { types, type } = useTypes(page, range);
  const { known, chart: chartOf, pinned, graph: selection, filters, chartMore, graphMore } = questionsOf(state, range, type);
  const unit = unitOf(type), level = isLevel(type);

  const series = useAnswer(known ? keyOf(chartOf, state.by) : null, (signal) => api.series(chartOf, chartMore, signal));
  const lines = useMemo(() => series.value && linesOf(series.value, state.by ?? ''), [series.value, state.by]);
  const graph = useAnswer(known ? keyOf(selection, graphMore) : null, (signal) => api.flamegraph(selection, graphMore, signal));
  const names = useAnswer(known && graph.value ? keyOf(chartOf) : null, (signal) => api.labelNames(chartOf, signal));
  const { folded, shaped } = useShaped(graph.value?.tree ?? null, page);
  const suggest = useSuggest(chartOf);
  const failures = [graph.failure, series.failure, types.failure];
  const refused = failures.find((f): f is api.Failure => f instanceof api.Failure && f.field === 'query')?.message ?? '';
  const failedAlike = series.failure !== null && series.failure.message === graph.failure?.message;
  const nothing = types.value !== null && types.value.types.length === 0 && !state.type;

  const young = useYoung(page, nothing, series.value);

  useEffect(() => {
    document.title = [state.query, type && shortType(type), 'coldframe'].filter(Boolean).join(' · ');
  }, [state.query, type]);

  return (
    <main class="explore">
      <QueryBar page={page} range={range} types={types} type={type} suggest={suggest} refused={refused} />
      {types.failure && !known && <Result answer={types} what="the profile types">{() => null}</Result>}
      {nothing ? (
        <NoProfiles />
      ) : types.failure && !known ? null : (
        <>
          <section class="over-time" aria-label="Over time">
            <div class="section-head">
              <h2>{level ? 'Level' : 'Rate'} of {type ? shortType(type) : '…'}</h2>
              <MenuButton
                label={<>By: {state.by || 'nothing'} <span aria-hidden="true">▾</span></>}
                title="One line for each value of a label"
                items={[{ name: 'nothing', checked: !state.by, do: () => go({ by: undefined }) }, ...(names.value?.names ?? []).map((name) => ({ name, checked: state.by === name, do: () => go({ by: name }) }))]}
              />
              {young && <span class="quiet" role="status">The first profiles come in: this looks again by itself.</span>}
              {pinned && (
                <span class="pinned" role="status">
                  Showing {instant(pinned[0], utc)} – {instant(pinned[1], utc)}
                  <button onClick={() => go({ from: pinned[0], to: pinned[1], a: undefined, b: undefined })}>Zoom in</button>
                  <button onClick={() => go(compareLink(page, type, pinned))}>Compare with before</button>
                  <button onClick={() => go({ a: undefined, b: undefined })} title="Show the whole range (Escape)">Whole range</button>
                </span>
              )}
            </div>
            <Result answer={series} what="the chart" toldBelow={failedAlike}>
              {(list) => <Chart lines={lines!} stepMs={list.step_ms} from={Date.parse(list.from)} to={Date.parse(list.to)} unit={unit || list.unit} level={level} utc={utc} dark={page.dark} selected={pinned} onSelect={(a, b) => go({ a, b })} onLine={(v) => go({ query: withMatcher(state.query ?? '', state.by ?? '', v), by: undefined })} />}
            </Result>
          </section>
          <section class="where" aria-label="Where it goes">
            <Toolbar page={page} tree={folded} timed groupLabels={names.value?.names ?? []}>
              <ExportMenu page={page} asked={{ selection, filters, group: state.group, sandwich: state.sandwich, invert: !!state.inv, last: graphMore.aggregate === 'last' }} tree={shaped} unit={unit} type={type} />
            </Toolbar>
            <Result answer={failedAlike ? { ...graph, retry: () => (graph.retry(), series.retry()) } : graph} what="the flame graph">
              {(g) =>
                g.total === 0 && g.tree.size <= 1 ? (
                  <NothingSelected page={page} filtered={g.filtered} unit={unit} range={range} />
                ) : (
                  folded && shaped && isTimed(folded) ? (
                    <OverTime page={page} tree={folded} selection={{ ...selection, from: Date.parse(g.from), to: Date.parse(g.to) }} unit={unit || g.unit} names={names.value?.names ?? []} />
                  ) : folded && shaped && <Stacks page={page} folded={folded} shaped={shaped} unit={unit || g.unit} />
                )
              }
            </Result>
            {level && graph.value && !isTimed(graph.value.tree) && graph.value.stats.profiles > 1 && !pinned && <p class="hint">Levels of {plural(graph.value.stats.profiles, 'profile')} are added up here. Click into the chart to see one moment.</p>}
            {graph.value && <Price stats={series.value ? together(graph.value.stats, series.value.stats) : graph.value.stats} cut={graph.value.cut} nodes={graph.value.tree.size} />}
          </section>
        </>
      )}
    </main>
  );
}

interface QueryBarProps {
  page: Page;
  range: { from: number; to: number };
  types: Answer<TypeList>;
  type: string;
  suggest(place: Place, signal: AbortSignal): Promise<string[]>;
  refused: string;
}

/** What is asked: type, selector, range. */
export function QueryBar({ page, range, types, type, suggest, refused }: QueryBarProps) {
  const { state, utc } = page;
  return (
    <div class="query-bar">
      <TypeSelect types={types.value?.types ?? []} value={type} onChange={(t) => go({ type: t, zoom: undefined, fn: undefined, sandwich: undefined })} />
      <Selector value={state.query ?? ''} refused={refused} onRun={(query) => (go({ query, zoom: undefined }), page.refresh())} suggest={suggest} />
      <RangeButton from={state.from ?? 'now-1h'} to={state.to ?? 'now'} resolved={range} utc={utc} onUTC={page.setUTC} onChange={(from, to) => (go({ from: from === 'now-1h' && to === 'now' ? undefined : from, to: to === 'now' ? undefined : to, a: undefined, b: undefined }), page.refresh())} />
    </div>
  );
}

/** The lines of a chart, the largest first. */
export function linesOf(list: SeriesList, by: string): Line[] {
  const lines = list.series.map((s) => ({ label: by ? s.labels[by] ?? '' : '', points: s.points }));
  const sum = (l: Line) => l.points.reduce((total, [, v]) => total + v, 0);
  return lines.sort((a, b) => sum(b) - sum(a)).slice(0, 100);
}

/** A comparison of what is pinned with as long a time right before it. */
function compareLink(page: Page, type: string, [a, b]: [number, number]) {
  return { view: 'compare', type, from: a, to: b, bfrom: 2 * a - b, bto: a, a: undefined, b: undefined, zoom: undefined, query: page.state.query };
}

function NoProfiles() {
  const here = new URL('.', location.href).href.replace(/\/$/, '');
  return (
    <Empty title="No profiles in this range">
      <p>Choose a longer range above, or send the first one; the page shows it as soon as it is there. Any pprof will do:</p>
      <pre class="code">{`curl --data-binary @cpu.pb.gz '${here}/api/v1/push?service_name=mine'\ncoldframe push --server ${here} --label service_name=mine cpu.pb.gz`}</pre>
      <p>
        Or let coldframe fetch them: <code>coldframe agent</code> profiles a whole machine, and <code>--config-path parca.yaml</code> names targets to scrape.
      </p>
    </Empty>
  );
}

function NothingSelected({ page, filtered, unit, range }: { page: Page; filtered: number; unit: string; range: { from: number; to: number } }) {
  const { state } = page;
  const older = { from: String(range.to - 7 * (range.to - range.from)), to: String(range.to) };
  return (
    <Empty title="Nothing here">
      <p>{filtered ? `The filters leave out all of it, ${value(filtered, unit)}.` : 'No profile of this type matches the selector in this range.'}</p>
      <p class="row">
        {filtered !== 0 && <button onClick={() => go({ filter: undefined, hide: undefined })}>Take the filters away</button>}
        {state.query && <button onClick={() => go({ query: undefined })}>Select everything</button>}
        {state.a && <button onClick={() => go({ a: undefined, b: undefined })}>Whole range</button>}
        {filtered === 0 && <button onClick={() => go({ ...older, a: undefined, b: undefined })}>Look seven times as far back</button>}
      </p>
    </Empty>
  );
}
