import { useState } from 'preact/hooks';
import { instant } from '../format';
import { describe, isRelative, PRESETS, typed } from '../state/time';
import { MenuButton } from './menu';

interface RangeProps {
  from: string; // as the URL has them
  to: string;
  resolved: { from: number; to: number };
  utc: boolean;
  onChange(from: string, to: string): void;
  onUTC(utc: boolean): void;
  label?: string;
}

/** The range of time: what people mostly want, or any two instants. */
export function RangeButton({ from, to, resolved, utc, onChange, onUTC, label = 'Range of time' }: RangeProps) {
  return (
    <MenuButton label={<>{describe(from, to, utc)} <span aria-hidden="true">▾</span></>} title={`${label}: ${describe(from, to, utc)}`} class="range">
      {(close) => <RangeForm {...{ from, to, resolved, utc, onUTC }} onChange={(a, b) => (close(), onChange(a, b))} />}
    </MenuButton>
  );
}

function RangeForm({ from, to, resolved, utc, onChange, onUTC }: RangeProps) {
  const text = (t: string, ms: number) => (isRelative(t) ? t : instant(ms, utc, true));
  const [a, setA] = useState(text(from, resolved.from)), [b, setB] = useState(text(to, resolved.to));
  const now = Date.now(), start = typed(a, utc, now), end = typed(b, utc, now);
  const problem = Number.isNaN(start) || Number.isNaN(end) ? 'Write now-2h, 10:30, or 2026-08-21 10:30.' : start >= end ? 'The range ends before it begins.' : '';
  const apply = () => {
    if (!problem) onChange(isRelative(a.trim()) ? a.trim() : String(start), isRelative(b.trim()) ? b.trim() : String(end));
  };
  const field = (name: string, v: string, set: (s: string) => void) => (
    <label class="field">
      {name}
      <input class="code" value={v} spellcheck={false} onInput={(e) => set(e.currentTarget.value)} onKeyDown={(e) => e.key === 'Enter' && apply()} />
    </label>
  );
  return (
    <div class="range-form">
      <div class="range-presets">
        {PRESETS.map((start) => (
          <button key={start} class="plain" aria-pressed={start === from && to === 'now'} onClick={() => onChange(start, 'now')}>
            {describe(start, 'now', utc)}
          </button>
        ))}
      </div>
      <div class="range-own">
        {field('From', a, setA)}
        {field('To', b, setB)}
        {problem && (
          <p class="problem" role="alert">
            {problem}
          </p>
        )}
        <div class="row">
          <Switch label="Zone" value={utc ? 'utc' : 'local'} options={[['local', 'Local'], ['utc', 'UTC']]} onChange={(v) => onUTC(v === 'utc')} />
          <button class="primary" disabled={problem !== ''} onClick={apply}>
            Apply
          </button>
        </div>
      </div>
    </div>
  );
}

/** A few choices of which one holds. */
export function Switch({ label, value, options, onChange }: { label: string; value: string; options: [string, string][]; onChange(v: string): void }) {
  const onKey = (e: KeyboardEvent) => {
    const step = e.key === 'ArrowRight' || e.key === 'ArrowDown' ? 1 : e.key === 'ArrowLeft' || e.key === 'ArrowUp' ? -1 : 0;
    if (!step) return;
    e.preventDefault();
    const at = options.findIndex(([v]) => v === value), next = options[(at + step + options.length) % options.length]![0];
    const group = e.currentTarget as HTMLElement;
    onChange(next);
    requestAnimationFrame(() => group.querySelector<HTMLElement>('[aria-checked=true]')?.focus());
  };
  return (
    <span class="switch" role="radiogroup" aria-label={label} onKeyDown={onKey}>
      {options.map(([v, name]) => (
        <button key={v} role="radio" aria-checked={v === value} tabIndex={v === value ? 0 : -1} onClick={() => onChange(v)}>
          {name}
        </button>
      ))}
    </span>
  );
}
