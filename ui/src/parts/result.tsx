import type { ComponentChildren } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import type { Stats } from '../api/answers';
import { Failure } from '../api/client';
import { bytes, dollars, millis, plural } from '../format';
import type { Answer } from '../state/answer';

interface ResultProps<T> {
  answer: Answer<T>;
  what: string; // that is waited for: "the flame graph"
  toldBelow?: boolean; // what failed is told of another answer as well
  children: (value: T) => ComponentChildren;
}

/** An answer in whatever state it is: on its way, slow, failed, given up, or there. What was there before stays, dimmed. */
export function Result<T>({ answer, what, toldBelow, children }: ResultProps<T>) {
  const { value, failure, busy, cancelled } = answer;
  return (
    <div class={busy && value !== null ? 'result busy' : 'result'} aria-busy={busy}>
      {busy && <div class="progress" role="progressbar" aria-label={`Loading ${what}`} />}
      {answer.slow && <Slow answer={answer} what={what} />}
      {failure && (toldBelow ? <p class="quiet told-below">There is no answer for {what} either: see below.</p> : <Failed failure={failure} retry={answer.retry} />)}
      {cancelled && !busy && (
        <div class="notice" role="status">
          <b>Cancelled.</b> {value !== null && answer.old ? 'What you see is the answer before.' : ''} <button onClick={answer.retry}>Ask once more</button>
        </div>
      )}
      {value !== null ? (failure ? null : children(value)) : busy ? <div class="waiting" /> : null}
    </div>
  );
}

function Slow<T>({ answer, what }: { answer: Answer<T>; what: string }) {
  const [now, set] = useState(performance.now());
  useEffect(() => {
    const timer = setInterval(() => set(performance.now()), 500);
    return () => clearInterval(timer);
  }, []);
  return (
    <div class="notice slow" role="status">
      <b>Still reading the bucket</b> for {what}, {Math.round((now - answer.since) / 1000)} s by now. A shorter range or a narrower selector reads less.{' '}
      <button onClick={answer.cancel}>Cancel</button>
    </div>
  );
}

const ADVICE: Record<string, string> = {
  too_large: 'Narrow the selector or shorten the range: the server refuses to read more than its limits allow.',
  timeout: 'The server gave up. Narrow the selector or shorten the range, or raise coldframe query --timeout.',
  unavailable: 'The bucket does not answer the server. Its log says more; trying again is safe.',
  partial: 'Part of the data cannot be read.',
  unreachable: 'Nothing was lost: the data is in the bucket.',
  ambiguous: 'Choose one type above.',
};

export function Failed({ failure, retry }: { failure: Error; retry(): void }) {
  const code = failure instanceof Failure ? failure.code : 'broken';
  return (
    <div class="notice failed" role="alert">
      <p>
        <b>{TITLES[code] ?? 'That did not work.'}</b> {ADVICE[code]} <button onClick={retry}>Try again</button>
      </p>
      <p class="failed-message">{failure.message}</p>
    </div>
  );
}

const TITLES: Record<string, string> = {
  invalid: 'The server does not understand this.',
  ambiguous: 'Several types fit.',
  not_found: 'There is no such thing.',
  too_large: 'Too much to read.',
  timeout: 'It took too long.',
  unavailable: 'The bucket is away.',
  partial: 'Only part of it can be read.',
  unreachable: 'No connection.',
  internal: 'The server failed.',
};

/** What an answer cost, and what it lacks. */
export function Price({ stats, cut, nodes }: { stats: Stats; cut?: number; nodes?: number }) {
  const missing = stats.missing.length || stats.blocks - stats.ok;
  return (
    <footer class="price" aria-label="What this answer cost">
      {missing > 0 && (
        <details class="partial">
          <summary>
            ⚠ Partial: {plural(missing, 'block')} could not be read
          </summary>
          <ul>
            {stats.missing.map((m) => (
              <li key={m.key}>
                <code>{m.key}</code> {m.reason}
              </li>
            ))}
          </ul>
        </details>
      )}
      <span title="Objects that may hold an answer, after pruning by time, type and labels">{plural(stats.blocks, 'block')}</span>
      {stats.profiles > 0 && <span title="Profiles that the answer is made of">{plural(stats.profiles, 'profile')}</span>}
      <span title="Requests made of the bucket">{plural(stats.requests, 'request')}</span>
      <span title="Bytes read from the bucket">{bytes(stats.bytes)}</span>
      <span title="Reads that a cache answered instead">
        {plural(stats.cache_hits, 'cache hit')} {stats.cache_bytes > 0 && <small>({bytes(stats.cache_bytes)})</small>}
      </span>
      <span title="From the request to the answer; of it, computing">
        {millis(stats.ms)} {stats.cpu_ms > 0 && <small>({millis(stats.cpu_ms)} CPU)</small>}
      </span>
      <span title="What requests, bytes and computing cost, by the prices the server was told">{dollars(stats.dollars)}</span>
      {nodes !== undefined && <span title="Nodes of the call tree">{plural(nodes, 'node')}</span>}
      {!!cut && <span class="warn" title="The smallest nodes were left out; their values are in their callers' totals">{plural(cut, 'node')} trimmed</span>}
    </footer>
  );
}

/** Nothing to show, and what to do about it. */
export function Empty({ title, children }: { title: string; children: ComponentChildren }) {
  return (
    <div class="empty">
      <svg viewBox="0 0 64 40" width="80" height="50" aria-hidden="true">
        <path class="e1" d="M2 4h60v8H2z" />
        <path class="e2" d="M2 15h38v8H2z" />
        <path class="e3" d="M2 26h17v8H2z" />
      </svg>
      <h2>{title}</h2>
      {children}
    </div>
  );
}
