import { useEffect, useMemo } from 'preact/hooks';
import * as api from '../api/client';
import { change, instant, share, value } from '../format';
import { Chart } from '../parts/chart';
import { RangeButton, Switch } from '../parts/range';
import { Empty, Price, Result } from '../parts/result';
import { TypeSelect } from '../parts/typeselect';
import { Selector } from '../selector/selector';
import { useAnswer } from '../state/answer';
import { fromURL, toAPI } from '../state/filters';
import { go } from '../state/url';
import { side, weighed } from '../tree/compare';
import type { Tree } from '../tree/tree';
import { linesOf, useSuggest, useTypes } from './explore';
import { ExportMenu } from './export';
import { keyOf, rangeOf, selectionOf, type Page } from './page';
import { Stacks, Toolbar, useShaped } from './stacks';
import { isLevel, shortType, unitOf } from './types';

/** Two selections: how they differ, and where. What stands right is compared with what stands left. */
export function Compare({ page }: { page: Page }) {
  const { state, now } = page;
  const range = useMemo(() => rangeOf(state.from, state.to, now), [state.from, state.to, now]);
  const length = range.to - range.from;
  const before = useMemo(() => (state.bfrom || state.bto ? rangeOf(state.bfrom, state.bto, now) : { from: range.from - length, to: range.from }), [state.bfrom, state.bto, now, range]);
  const { types, type } = useTypes(page, range);
  const right = selectionOf(state.query ?? '', type, range), left = selectionOf(state.bquery ?? state.query ?? '', type, before);
  const relative = !state.abs, filters = toAPI(fromURL(state));

  const more = { ...filters, base_query: left.query, base_from: api.seconds(left.from), base_to: api.seconds(left.to) };
  const answer = useAnswer(type ? keyOf(right, more) : null, (signal) => api.flamegraph(right, more, signal));
  const unit = unitOf(type) || (answer.value?.unit ?? '');
  const { folded, shaped } = useShaped(answer.value?.tree ?? null, page);
  const drawn = useMemo(() => shaped && weighed(shaped, relative ? 'both-relative' : 'both'), [shaped, relative]);

  useEffect(() => {
    document.title = [type && shortType(type), 'compare', 'coldframe'].filter(Boolean).join(' · ');
  }, [type]);

  return (
    <main class="compare">
      <div class="sides">
        <div class="query-bar">
          <TypeSelect types={types.value?.types ?? []} value={type} onChange={(t) => go({ type: t, zoom: undefined, fn: undefined, sandwich: undefined })} />
          <button
            title="Exchange the two sides"
            onClick={() => go({ query: state.bquery ?? state.query, bquery: state.query ?? (state.bquery && '{}'), from: left.from, to: left.to, bfrom: right.from, bto: right.to })}
          >
            ⇄ Exchange
          </button>
        </div>
        <Side page={page} name="Before" of="b" selection={left} from={state.bfrom ?? String(before.from)} to={state.bto ?? String(before.to)} />
        <Side page={page} name="After" of="" selection={right} from={state.from ?? 'now-1h'} to={state.to ?? 'now'} />
      </div>
      <section class="where" aria-label="The difference">
        <Toolbar page={page} tree={folded} compared>
          <Switch label="Way of comparing" value={state.how || 'difference'} options={[['difference', 'Difference'], ['sides', 'Side by side']]} onChange={(v) => go({ how: v === 'difference' ? undefined : v })} />
          <Switch label="Measure" value={relative ? 'relative' : 'absolute'} options={[['relative', 'Relative'], ['absolute', 'Absolute']]} onChange={(v) => go({ abs: v === 'absolute' ? '1' : undefined })} />
          <ExportMenu page={page} asked={{ selection: right, filters, base: left, absolute: !relative, sandwich: state.sandwich, invert: !!state.inv }} tree={drawn} unit={unit} type={type} />
        </Toolbar>
        <Result answer={answer} what="the comparison">
          {(g) =>
            g.total === 0 && (g.tree.base?.total[0] ?? 0) === 0 ? (
              <Empty title="Nothing on either side">
                <p>Choose ranges or selectors above that have profiles of this type.</p>
              </Empty>
            ) : (
              folded && shaped && drawn && (
                <>
                  <Summary tree={g.tree} unit={unit} />
                  {state.how === 'sides' ? (
                    <div class="two">
                      <SideStacks page={page} title="Before" tree={side(shaped, true)} folded={folded} unit={unit} left />
                      <SideStacks page={page} title="After" tree={side(shaped, false)} folded={folded} unit={unit} />
                    </div>
                  ) : (
                    <Stacks page={page} folded={folded} shaped={drawn} unit={unit} relative={relative} />
                  )}
                </>
              )
            )
          }
        </Result>
        {answer.value && <Price stats={answer.value.stats} cut={answer.value.cut} nodes={answer.value.tree.size} />}
      </section>
    </main>
  );
}

interface SideProps {
  page: Page;
  name: string;
  of: '' | 'b'; // what its parameters of the URL begin with
  selection: api.Selection;
  from: string;
  to: string;
}

/** What one side is of, in its surroundings: the chart shows half as much more on either end. */
function Side({ page, name, of, selection, from, to }: SideProps) {
  const { utc, dark } = page, margin = (selection.to - selection.from) / 2;
  const around = { ...selection, from: selection.from - margin, to: selection.to + margin };
  const level = isLevel(selection.type);
  const series = useAnswer(selection.type ? keyOf(around) : null, (signal) => api.series(around, { aggregate: level ? 'last' : undefined }, signal));
  const lines = useMemo(() => series.value && linesOf(series.value, ''), [series.value]);
  const suggest = useSuggest(selection);
  const query = page.state[of + 'query'] ?? (of ? page.state.query : undefined) ?? '';
  const set = (from: string | number, to: string | number) => go({ [of + 'from']: from, [of + 'to']: to });
  return (
    <section class={'over-time side-' + name.toLowerCase()} aria-label={name}>
      <div class="query-bar">
        <h2>{name}</h2>
        <Selector label={`Selector ${name.toLowerCase()}`} value={query} refused={series.failure instanceof api.Failure && series.failure.field === 'query' ? series.failure.message : ''} onRun={(q) => go({ [of + 'query']: q || (of && page.state.query ? '{}' : ''), zoom: undefined })} suggest={suggest} />
        <RangeButton label={`Range ${name.toLowerCase()}`} from={from} to={to} resolved={selection} utc={utc} onUTC={page.setUTC} onChange={set} />
      </div>
      <Result answer={series} what="the chart">
        {(list) => <Chart label={`${name}: totals over time`} lines={lines!} stepMs={list.step_ms} from={Date.parse(list.from)} to={Date.parse(list.to)} unit={unitOf(selection.type) || list.unit} level={level} utc={utc} dark={dark} selected={[selection.from, selection.to]} onSelect={set} onLine={() => undefined} />}
      </Result>
      <p class="quiet side-range">
        {instant(selection.from, utc)} – {instant(selection.to, utc)}
      </p>
    </section>
  );
}

function Summary({ tree, unit }: { tree: Tree; unit: string }) {
  const before = tree.base!.total[0]!, after = tree.total[0]!;
  return (
    <p class="summary">
      <span>
        Before <b>{value(before, unit)}</b>
      </span>
      <span>
        After <b>{value(after, unit)}</b>
      </span>
      <span>
        Change <b class={after > before ? 'more' : 'less'}>{change(after - before, unit)}</b>
        {before > 0 && ` (${after >= before ? '+' : ''}${share(after - before, before)})`}
      </span>
    </p>
  );
}

/** One side's graph; zoom, search and choice are those of the other side too. */
function SideStacks({ page, title, tree, folded, unit, left = false }: { page: Page; title: string; tree: Tree; folded: Tree; unit: string; left?: boolean }) {
  const alone = useMemo(() => side(folded, left), [folded, left]);
  const shown: Page = { ...page, state: { ...page.state, show: 'graph', sort: '' } };
  return (
    <section class="one-side" aria-label={title + ': the graph'}>
      <h3>{title}</h3>
      <Stacks page={shown} folded={alone} shaped={tree} unit={unit} />
    </section>
  );
}
