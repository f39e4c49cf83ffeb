import { useCallback, useLayoutEffect, useRef, useState } from 'preact/hooks';

/** Something that is asked of the server: what it said last, and how the asking goes. */
export interface Answer<T> {
  value: T | null; // the last good answer; while another is on its way it is old
  old: boolean;
  failure: Error | null;
  busy: boolean;
  slow: boolean; // busy for longer than people wait without a word
  since: number; // when the asking began, by performance.now
  cancelled: boolean;
  cancel(): void;
  retry(): void;
}

const PATIENCE = 2500; // milliseconds until an answer is slow

/**
 * Asks when key changes, and gives up what was asked before. A null key asks nothing. What is
 * old stays on the screen until the new is there, unless it is of another kind (its key's first word).
 */
export function useAnswer<T>(key: string | null, ask: (signal: AbortSignal) => Promise<T>): Answer<T> {
  const [state, set] = useState({ key: null as string | null, value: null as T | null, failure: null as Error | null, busy: false, slow: false, since: 0, cancelled: false });
  const [attempt, setAttempt] = useState(0);
  const control = useRef<AbortController | null>(null);
  const latest = useRef(ask);
  latest.current = ask;

  // Before the frame is painted, not after it: the answer is there a frame sooner.
  useLayoutEffect(() => {
    if (key === null) return;
    const mine = new AbortController();
    control.current = mine;
    set((s) => ({ ...s, busy: true, slow: false, failure: null, cancelled: false, since: performance.now() }));
    const timer = setTimeout(() => set((s) => ({ ...s, slow: s.busy })), PATIENCE);
    latest.current(mine.signal).then(
      (value) => {
        clearTimeout(timer);
        if (control.current === mine) set((s) => ({ ...s, key, value, failure: null, busy: false, slow: false }));
      },
      (err: Error) => {
        clearTimeout(timer);
        if (control.current !== mine) return;
        const cancelled = mine.signal.aborted;
        set((s) => ({ ...s, failure: cancelled ? null : err, cancelled, busy: false, slow: false }));
      },
    );
    return () => {
      clearTimeout(timer);
      if (control.current === mine) control.current = null;
      mine.abort();
    };
  }, [key, attempt]);

  return {
    ...state,
    busy: key !== null && (state.busy || (state.key !== key && !state.failure && !state.cancelled)),
    old: state.value !== null && state.key !== key,
    cancel: useCallback(() => control.current?.abort(), []),
    retry: useCallback(() => setAttempt((n) => n + 1), []),
  };
}
