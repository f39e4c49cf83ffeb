import type { ComponentChildren } from 'preact';
import { useEffect, useMemo } from 'preact/hooks';
import * as api from '../api/client';
import type { Stats } from '../api/answers';
import { bytes, count, duration, instant, millis, plural, share, value } from '../format';
import { Price, Result } from '../parts/result';
import { useAnswer, type Answer } from '../state/answer';
import { describe } from '../state/time';
import { filterOf, toURL } from '../state/filters';
import { go, link } from '../state/url';
import { useTypes } from './explore';
import { DEFAULT_FROM, keyOf, rangeOf, selectionOf, type Page } from './page';
import { shortType } from './types';

interface Inventory {
  now: string;
  shards: { shard: string; commits: number; sealed?: string; swept?: string; waiting: number; waiting_bytes: number; lag_ms: number }[];
  days: { day: string; level: number; blocks: number; bytes: number; rollup_bytes: number; profiles: number; bad: number }[];
  bad: { key: string; reason: string }[];
  stats: Stats;
}

interface Target {
  job: string;
  url: string;
  name?: string;
  state?: string;
  health: string;
  labels?: Record<string, string>;
  last_scrape?: string;
  last_duration_seconds?: number;
  last_error?: string;
}

interface Agent {
  id: string;
  address: string;
  protocol: string;
  last_push: string;
  last_push_duration_seconds: number;
  last_error?: string;
  pushes: number;
  push_errors: number;
}

interface Member {
  name: string;
  url?: string;
  zone?: string;
  version: number | string;
  self?: boolean;
  refused?: string;
}

interface MissingNames {
  type: string;
  unit: string;
  total: number;
  unnamed: number;
  count: number;
  missing: { binary: string; file: string; build_id: string; kernel: boolean; addresses: number; self: number; total: number }[];
  stats: Stats;
}

/** What this server has, and what brings it in. */
export function Operate({ page }: { page: Page }) {
  useEffect(() => {
    document.title = 'operate · coldframe';
  }, []);
  return (
    <main class="operate" tabIndex={0} aria-label="Operate">
      <Blocks page={page} />
      <Targets page={page} />
      <Agents page={page} />
      <Cluster page={page} />
      <MissingSymbols page={page} />
    </main>
  );
}

/** Asks for something that not every server has; undefined where there is no such thing. */
function useOptional<T>(path: string, page: Page, params: api.Params = {}): Answer<T | undefined> {
  return useAnswer<T | undefined>(JSON.stringify([path, params, page.now]), (signal) =>
    api.get<T>(path, params, signal).catch((err: Error) => {
      if (err instanceof api.Failure && err.code === 'not_found') return undefined;
      throw err;
    }),
  );
}

interface PartProps<T> {
  title: string;
  answer: Answer<T | undefined>;
  none: ComponentChildren; // what to do to have some
  isEmpty(v: T): boolean;
  children(v: T): ComponentChildren;
}

function Part<T>({ title, answer, none, isEmpty, children }: PartProps<T>) {
  return (
    <section class="panel" aria-label={title} id={title.toLowerCase().replace(/ .*/, '')}>
      <div class="section-head">
        <h2>{title}</h2>
      </div>
      <Result answer={{ ...answer, value: answer.value === null ? null : { of: answer.value } }} what={title.toLowerCase()}>
        {({ of }) => (of === undefined || isEmpty(of) ? <p class="none">{none}</p> : children(of))}
      </Result>
    </section>
  );
}

const LEVELS = [1, 2, 3, 4];
const LEVEL_NAMES: Record<number, string> = { 1: 'minutes', 2: 'quarters of an hour', 3: 'three hours', 4: 'whole days' };

function Blocks({ page }: { page: Page }) {
  const range = useMemo(() => rangeOf(page.state.bfrom ?? 'now-30d', 'now', page.now), [page.now]);
  const answer = useOptional<Inventory>('blocks', page, { from: api.seconds(range.from), to: api.seconds(range.to) });
  return (
    <Part<Inventory>
      title="Blocks"
      answer={answer}
      isEmpty={(v) => v.shards.length === 0}
      none={<>Nothing is in the bucket yet. Push a profile, or run <code>coldframe agent</code>, and it appears here within a minute.</>}
    >
      {(v) => (
        <>
          <Facts inventory={v} />
          {v.bad.length > 0 && (
            <div class="notice failed">
              <b>{plural(v.bad.length, 'block')} damaged.</b> Answers leave them out and say so. <code>coldframe fsck</code> tells more.
              <ul>
                {v.bad.map((b) => (
                  <li key={b.key}>
                    <code>{b.key}</code> {b.reason}
                  </li>
                ))}
              </ul>
            </div>
          )}
          {v.days.length > 0 ? <Levels inventory={v} /> : <p class="none">Nothing was compacted yet. <code>coldframe compact</code> merges uploads into blocks that queries read with few requests.</p>}
          {v.shards.length > 1 && <Shards inventory={v} utc={page.utc} />}
          <Price stats={v.stats} />
        </>
      )}
    </Part>
  );
}

function Facts({ inventory: v }: { inventory: Inventory }) {
  const sum = (of: (d: Inventory['days'][number]) => number) => v.days.reduce((total, d) => total + of(d), 0);
  const waiting = v.shards.reduce((n, s) => n + s.waiting, 0), waitingBytes = v.shards.reduce((n, s) => n + s.waiting_bytes, 0);
  const lag = Math.max(0, ...v.shards.map((s) => s.lag_ms)), late = lag > 5 * 6e4;
  const fact = (name: string, text: ComponentChildren, more = '') => (
    <div>
      <dt>{name}</dt>
      <dd>
        {text} <small>{more}</small>
      </dd>
    </div>
  );
  return (
    <dl class="facts">
      {fact('Blocks, 30 days', count(sum((d) => d.blocks)), bytes(sum((d) => d.bytes)))}
      {fact('Profiles', count(sum((d) => d.profiles)))}
      {fact('Waiting for compaction', count(waiting), bytes(waitingBytes))}
      {fact('Compaction lag', <span class={late ? 'state bad' : ''}>{duration(lag)}</span>, late ? 'is coldframe compact running?' : '')}
      {fact('Shards', count(v.shards.length))}
    </dl>
  );
}

/** How many blocks each day has of each level: a day that is done has few, of the highest. */
function Levels({ inventory: v }: { inventory: Inventory }) {
  const days = [...new Set(v.days.map((d) => d.day))], most = Math.max(...v.days.map((d) => d.bytes));
  return (
    <div class="scroll" role="region" aria-label="Blocks by day and level" tabIndex={0}>
<table class="list levels">
      <caption class="unseen">Blocks by day and level</caption>
      <thead>
        <tr>
          <th>Day</th>
          {LEVELS.map((l) => (
            <th key={l} class="number">
              Level {l} <small>{LEVEL_NAMES[l]}</small>
            </th>
          ))}
          <th class="number">Profiles</th>
        </tr>
      </thead>
      <tbody>
        {days.map((day) => {
          const of = v.days.filter((d) => d.day === day);
          return (
            <tr key={day}>
              <td>{day}</td>
              {LEVELS.map((l) => {
                const d = of.find((x) => x.level === l);
                return (
                  <td key={l} class="cell">
                    {d && (
                      <>
                        {count(d.blocks)} <small>{bytes(d.bytes)}</small> {d.bad > 0 && <span class="state bad">{d.bad} damaged</span>}
                        <i style={{ width: (100 * d.bytes) / most + '%' }} />
                      </>
                    )}
                  </td>
                );
              })}
              <td class="number">{count(of.reduce((n, d) => n + d.profiles, 0))}</td>
            </tr>
          );
        })}
      </tbody>
    </table>
</div>
  );
}

function Shards({ inventory: v, utc }: { inventory: Inventory; utc: boolean }) {
  const time = (t?: string) => (t ? instant(Date.parse(t), utc) : 'never');
  return (
    <div class="scroll" role="region" aria-label="Shards" tabIndex={0}>
<table class="list">
      <caption class="unseen">Shards</caption>
      <thead>
        <tr>
          <th>Shard</th>
          <th>Merged up to</th>
          <th>Swept up to</th>
          <th class="number">Waiting</th>
          <th class="number">Lag</th>
          <th class="number">Commits</th>
        </tr>
      </thead>
      <tbody>
        {v.shards.map((s) => (
          <tr key={s.shard}>
            <td class="code">{s.shard}</td>
            <td>{time(s.sealed)}</td>
            <td>{time(s.swept)}</td>
            <td class="number">
              {count(s.waiting)} <small>{bytes(s.waiting_bytes)}</small>
            </td>
            <td class="number">{duration(s.lag_ms)}</td>
            <td class="number">{count(s.commits)}</td>
          </tr>
        ))}
      </tbody>
    </table>
</div>
  );
}

const HEALTH: Record<string, string> = { up: 'good', down: 'bad', dropped: 'odd', failed: 'bad' };

function Targets({ page }: { page: Page }) {
  const answer = useOptional<{ targets: Target[] }>('targets', page);
  return (
    <Part<{ targets: Target[] }>
      title="Targets"
      answer={answer}
      isEmpty={(v) => !v.targets?.length}
      none={<>This process scrapes nothing. Name targets in a parca.yaml: <code>coldframe dev --config-path parca.yaml</code>, or <code>coldframe ingest</code> in production.</>}
    >
      {({ targets }) => (
        <div class="scroll" role="region" aria-label="List of targets" tabIndex={0}>
          <table class="list">
            <thead>
              <tr>
                <th>Job</th>
                <th>Profile</th>
                <th>Target</th>
                <th>Health</th>
                <th>Last scrape</th>
                <th class="number">Took</th>
                <th>Last error</th>
              </tr>
            </thead>
            <tbody>
              {targets.map((t, k) => {
                const health = t.state && t.state !== 'active' ? t.state : t.health;
                return (
                  <tr key={k}>
                    <td>{t.job}</td>
                    <td>{t.name}</td>
                    <td class="code wrap" title={Object.entries(t.labels ?? {}).map(([name, v]) => `${name}="${v}"`).join('\n')}>{t.url}</td>
                    <td>
                      <span class={'state ' + (HEALTH[health] ?? '')}>{health}</span>
                    </td>
                    <td>{ago(t.last_scrape, page)}</td>
                    <td class="number">{t.last_duration_seconds !== undefined && millis(1000 * t.last_duration_seconds)}</td>
                    <td class="wrap">{t.last_error}</td>
                  </tr>
                );
              })}
            </tbody>
          </table>
        </div>
      )}
    </Part>
  );
}

function Agents({ page }: { page: Page }) {
  const answer = useOptional<{ agents: Agent[] }>('agents', page);
  return (
    <Part<{ agents: Agent[] }>
      title="Agents"
      answer={answer}
      isEmpty={(v) => !v.agents?.length}
      none={
        <>
          Nobody has pushed to this process. Agents that write straight to the bucket are not listed here. To have one push: <code>coldframe agent --remote-store-address {location.host}</code>, or a Pyroscope SDK with the server address {location.origin}.
        </>
      }
    >
      {({ agents }) => (
        <div class="scroll" role="region" aria-label="List of agents" tabIndex={0}>
          <table class="list">
            <thead>
              <tr>
                <th>Agent</th>
                <th>Address</th>
                <th>Protocol</th>
                <th>Last push</th>
                <th class="number">Took</th>
                <th class="number">Pushes</th>
                <th class="number">Refused</th>
                <th>Last error</th>
              </tr>
            </thead>
            <tbody>
              {agents.map((a) => (
                <tr key={a.id + a.protocol}>
                  <td>{a.id}</td>
                  <td class="code">{a.address}</td>
                  <td>{a.protocol}</td>
                  <td>{ago(a.last_push, page)}</td>
                  <td class="number">{millis(1000 * a.last_push_duration_seconds)}</td>
                  <td class="number">{count(a.pushes)}</td>
                  <td class="number">{a.push_errors ? <span class="state bad">{count(a.push_errors)}</span> : '0'}</td>
                  <td class="wrap">{a.last_error}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Part>
  );
}

function Cluster({ page }: { page: Page }) {
  const answer = useOptional<{ members: Member[] }>('cluster', page);
  return (
    <Part<{ members: Member[] }>
      title="Cluster members"
      answer={answer}
      isEmpty={(v) => (v.members ?? []).every((m) => m.self)}
      none={<>This process answers queries alone. Several share large ones: <code>coldframe query --cluster-join HOST:PORT</code>.</>}
    >
      {({ members }) => (
        <div class="scroll" role="region" aria-label="List of members" tabIndex={0}>
<table class="list">
          <thead>
            <tr>
              <th>Name</th>
              <th>URL</th>
              <th>Zone</th>
              <th class="number">Version</th>
              <th>State</th>
            </tr>
          </thead>
          <tbody>
            {members.map((m) => (
              <tr key={m.name}>
                <td>
                  {m.name} {m.self && <span class="quiet">(this one)</span>}
                </td>
                <td class="code">{m.url}</td>
                <td>{m.zone}</td>
                <td class="number">{m.version}</td>
                <td>{m.refused ? <span class="state bad">{m.refused}</span> : <span class="state good">in</span>}</td>
              </tr>
            ))}
          </tbody>
        </table>
</div>
      )}
    </Part>
  );
}

/** Binaries whose functions have no names, and how much of the profiles that hides. */
function MissingSymbols({ page }: { page: Page }) {
  const range = useMemo(() => rangeOf(page.state.from, page.state.to, page.now), [page.state.from, page.state.to, page.now]);
  const { types, type } = useTypes(page, range), selection = selectionOf(page.state.query ?? '', type, range);
  const answer = useAnswer<MissingNames | undefined>(type ? keyOf(selection) : null, (signal) => api.get<MissingNames>('debuginfo/missing', { ...api.paramsOf(selection), limit: 50 }, signal));
  const known: Answer<MissingNames | undefined> = types.value && !type ? { ...answer, value: undefined, failure: null } : answer;
  const failed = types.failure && !type ? { ...answer, failure: types.failure, retry: types.retry } : known;
  const span = describe(page.state.from ?? DEFAULT_FROM, page.state.to ?? 'now', page.utc);
  return (
    <Part<MissingNames>
      title="Missing debug info"
      answer={failed}
      isEmpty={(v) => v.missing.length === 0}
      none={
        answer.value?.total ? (
          <>Nothing is missing: in {shortType(type)}, {span.toLowerCase()}, every frame has the name of its function.</>
        ) : (
          <>
            There is nothing to look at in this range, {span.toLowerCase()}. Choose a longer one in <a href={link({ view: undefined })}>Explore</a>, or push a profile: <code>coldframe push --label service_name=mine cpu.pb.gz</code>
          </>
        )
      }
    >
      {(v) => (
        <>
          <p class="operate-lead">
            <b>{share(v.unnamed, v.total)}</b> of {shortType(v.type)}, {span.toLowerCase()}, runs through code whose functions have no names: {plural(v.count, 'binary', 'binaries')}. Profiles carry names, so look where they are made: keep the symbol
            tables of binaries (no <code>strip</code>, no <code>-ldflags=-s</code>), or install their debug packages on the host. For the kernel, let the agent read <code>/proc/kallsyms</code> (<code>kernel.kptr_restrict=0</code>, or root).
          </p>
          <div class="scroll" role="region" aria-label="List of binaries without names" tabIndex={0}>
            <table class="list">
              <thead>
                <tr>
                  <th>Binary</th>
                  <th>Build ID</th>
                  <th class="number">Addresses</th>
                  <th class="number">Self</th>
                  <th class="share">Passes through it</th>
                </tr>
              </thead>
              <tbody>
                {v.missing.map((m) => (
                  <tr key={m.file + ' ' + m.build_id}>
                    <td class="code wrap" title={m.file}>
                      {m.binary ? <BinaryLink binary={m.binary} type={v.type} /> : <span class="quiet">no mapped file</span>} {m.kernel && <span class="tag">kernel</span>}
                    </td>
                    <td class="code">{m.build_id || <span class="quiet">not known</span>}</td>
                    <td class="number">{count(m.addresses)}</td>
                    <td class="number">
                      {value(m.self, v.unit)} <small>{share(m.self, v.total)}</small>
                    </td>
                    <td class="share">
                      <i style={{ width: (100 * m.total) / (v.missing[0]!.total || 1) + '%' }} />
                      <span>{share(m.total, v.total)}</span>
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
          {v.count > v.missing.length && <p class="quiet below">The {count(v.missing.length)} largest are shown.</p>}
          <Price stats={v.stats} />
        </>
      )}
    </Part>
  );
}

/** To the stacks that pass through a binary. */
function BinaryLink({ binary, type }: { binary: string; type: string }) {
  const patch = { view: undefined, type, ...toURL([filterOf('keep', 'binary', '=', binary)]) };
  return (
    <a
      href={link(patch)}
      title={`Show the stacks through ${binary}`}
      onClick={(e) => {
        if (e.ctrlKey || e.metaKey || e.shiftKey) return;
        e.preventDefault();
        go(patch);
      }}
    >
      {binary}
    </a>
  );
}

/** How long before the page's last look something was. */
function ago(t: string | undefined, page: Page) {
  const at = t ? Date.parse(t) : NaN;
  if (Number.isNaN(at) || at <= 0) return <span class="quiet">never</span>;
  return <span title={instant(at, page.utc, true)}>{page.now - at < 1000 ? 'just now' : duration(page.now - at) + ' ago'}</span>;
}
