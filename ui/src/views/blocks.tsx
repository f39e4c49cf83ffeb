import type { ComponentChildren } from 'preact';
import { useMemo } from 'preact/hooks';
import type { Stats } from '../api/answers';
import * as api from '../api/client';
import { bytes, count, duration, instant, plural } from '../format';
import { List } from '../parts/list';
import { Price } from '../parts/result';
import { rangeOf, type Page } from './page';
import { Part, useOptional } from './part';

interface Inventory {
  now: string;
  shards: { shard: string; commits: number; sealed?: string; swept?: string; waiting: number; waiting_bytes: number; lag_ms: number }[];
  days: { day: string; level: number; blocks: number; bytes: number; rollup_bytes: number; profiles: number; bad: number }[];
  bad: { key: string; reason: string }[];
  stats: Stats;
}

/** What is in the bucket, how it is merged, and what waits for it. */
export function Blocks({ page }: { page: Page }) {
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

const LEVELS = [1, 2, 3, 4];
const LEVEL_NAMES: Record<number, string> = { 1: 'minutes', 2: 'quarters of an hour', 3: 'three hours', 4: 'whole days' };

/** How many blocks each day has of each level: a day that is done has few, of the highest. */
function Levels({ inventory: v }: { inventory: Inventory }) {
  const days = [...new Set(v.days.map((d) => d.day))], most = Math.max(...v.days.map((d) => d.bytes));
  return (
    <List label="Blocks by day and level" class="levels">
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
    </List>
  );
}

function Shards({ inventory: v, utc }: { inventory: Inventory; utc: boolean }) {
  const time = (t?: string) => (t ? instant(Date.parse(t), utc) : 'never');
  return (
    <List label="Shards">
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
    </List>
  );
}
