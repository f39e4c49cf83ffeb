import { useMemo } from 'preact/hooks';
import type { Stats } from '../api/answers';
import * as api from '../api/client';
import { count, plural, share, value } from '../format';
import { Link } from '../parts/link';
import { List } from '../parts/list';
import { Price } from '../parts/result';
import { useAnswer, type Answer } from '../state/answer';
import { filterOf, toURL } from '../state/filters';
import { describe } from '../state/time';
import { useTypes } from './explore';
import { DEFAULT_FROM, keyOf, rangeOf, selectionOf, type Page } from './page';
import { Part } from './part';
import { shortType } from './types';

interface MissingNames {
  type: string;
  unit: string;
  total: number;
  unnamed: number;
  count: number;
  missing: { binary: string; file: string; build_id: string; kernel: boolean; addresses: number; self: number; total: number }[];
  stats: Stats;
}

/** Binaries whose functions have no names, and how much of the profiles that hides. */
export function MissingSymbols({ page }: { page: Page }) {
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
            There is nothing to look at in this range, {span.toLowerCase()}. Choose a longer one in <Link to={{ view: undefined }}>Explore</Link>, or push a profile: <code>coldframe push --label service_name=mine cpu.pb.gz</code>
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
          <List label="List of binaries without names">
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
          </List>
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
    <Link to={patch} title={`Show the stacks through ${binary}`}>
      {binary}
    </Link>
  );
}
