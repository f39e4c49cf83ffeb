import type { ComponentChildren } from 'preact';
import { useEffect, useMemo } from 'preact/hooks';
import * as api from '../api/client';
import type { Stats } from '../api/answers';
import { bytes, count, duration, instant, millis, plural } from '../format';
import { Price, Result } from '../parts/result';
import { useAnswer, type Answer } from '../state/answer';
import { rangeOf, type Page } from './page';

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
  url: string;
  zone?: string;
  version: number | string;
  self?: boolean;
  refused?: string;
}

interface Missing {
  build_id: string;
  binary: string;
  samples?: number;
  reason?: string;
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
  );
}

function Shards({ inventory: v, utc }: { inventory: Inventory; utc: boolean }) {
  const time = (t?: string) => (t ? instant(Date.parse(t), utc) : 'never');
  return (
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
      isEmpty={(v) => !v.members?.length}
      none={<>This process answers queries alone. Several share large ones: <code>coldframe query --cluster-join HOST:PORT</code>.</>}
    >
      {({ members }) => (
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
      )}
    </Part>
  );
}

function MissingSymbols({ page }: { page: Page }) {
  const answer = useOptional<{ missing: Missing[] }>('debuginfo/missing', page);
  return (
    <Part<{ missing: Missing[] }>
      title="Missing debug info"
      answer={answer}
      isEmpty={(v) => !v.missing?.length}
      none={
        <>
          Nothing is known to be missing. Frames without symbols are striped in the graph and named by binary and address. Profile on hosts where the binaries keep their symbols, or push profiles that carry them.
        </>
      }
    >
      {({ missing }) => (
        <table class="list">
          <thead>
            <tr>
              <th>Binary</th>
              <th>Build ID</th>
              <th class="number">Samples</th>
              <th>Why</th>
            </tr>
          </thead>
          <tbody>
            {missing.map((m) => (
              <tr key={m.build_id}>
                <td class="code">{m.binary}</td>
                <td class="code">{m.build_id}</td>
                <td class="number">{m.samples !== undefined && count(m.samples)}</td>
                <td>{m.reason}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </Part>
  );
}

/** How long before the page's last look something was. */
function ago(t: string | undefined, page: Page) {
  const at = t ? Date.parse(t) : NaN;
  if (Number.isNaN(at) || at <= 0) return <span class="quiet">never</span>;
  return <span title={instant(at, page.utc, true)}>{page.now - at < 1000 ? 'just now' : duration(page.now - at) + ' ago'}</span>;
}
