import { useEffect, useId, useRef, useState } from 'preact/hooks';
import { complete, parse, refusal, type Place } from './grammar';

interface SelectorProps {
  value: string; // what is asked now
  refused: string; // what the server says against it
  onRun(text: string): void;
  suggest(place: Place, signal: AbortSignal): Promise<string[]>;
  label?: string;
}

const OPERATORS: Record<string, string> = { '=': 'equals', '!=': 'does not equal', '=~': 'matches', '!~': 'does not match' };
const SHOWN = 60; // suggestions; who wants another types more

/** A line for a selector, which completes names and values, and says where what is typed goes wrong. */
export function Selector({ value, refused, onRun, suggest, label = 'Selector' }: SelectorProps) {
  const id = useId(), input = useRef<HTMLInputElement>(null);
  const [text, setText] = useState(value), [touched, setTouched] = useState(false);
  const [open, setOpen] = useState(false), [items, setItems] = useState<string[]>([]), [active, setActive] = useState(-1);
  const place = useRef<Place | null>(null), control = useRef<AbortController | null>(null), timer = useRef(0);

  useEffect(() => {
    setText(value);
    setTouched(false);
  }, [value]);
  useEffect(() => () => {
    control.current?.abort();
    clearTimeout(timer.current);
  }, []);

  const mistake = parse(text).mistake;
  const shown = mistake && (touched || text === value) && !open ? mistake : null;

  const ask = (delay: number) => {
    clearTimeout(timer.current);
    timer.current = window.setTimeout(async () => {
      const el = input.current;
      if (!el || document.activeElement !== el) return;
      const asked = el.value;
      const at = parse(el.value, el.selectionStart ?? el.value.length).place;
      control.current?.abort();
      const mine = (control.current = new AbortController());
      let all: string[] = [];
      try {
        all = at.kind === 'operator' ? Object.keys(OPERATORS) : await suggest(at, mine.signal);
      } catch {
        // nothing to suggest
      }
      if (mine.signal.aborted || el.value !== asked) return; // a newer question is on its way
      const want = at.kind === 'operator' ? '' : at.typed.toLowerCase();
      const begins = (s: string) => (s.toLowerCase().startsWith(want) ? 0 : 1);
      place.current = at;
      setItems(all.filter((s) => s.toLowerCase().includes(want)).sort((a, b) => begins(a) - begins(b)).slice(0, SHOWN));
      setActive(-1);
      setOpen(true);
    }, delay);
  };

  const choose = (choice: string) => {
    const el = input.current!, at = place.current!;
    const done = complete(el.value, at, choice);
    clearTimeout(timer.current);
    control.current?.abort(); // its answer would be to what is gone
    setText(done.text);
    setOpen(false);
    el.value = done.text;
    el.focus();
    el.setSelectionRange(done.caret, done.caret);
    if (at.kind === 'name' || at.kind === 'operator') ask(0);
  };

  const run = () => {
    clearTimeout(timer.current);
    control.current?.abort(); // suggestions that come now would hide what is wrong
    setOpen(false);
    setTouched(true);
    if (!parse(text).mistake) onRun(text.trim());
  };

  const onKeyDown = (e: KeyboardEvent) => {
    const listed = open && items.length > 0;
    if (listed && (e.key === 'ArrowDown' || e.key === 'ArrowUp')) {
      const step = e.key === 'ArrowDown' ? 1 : -1;
      setActive((active < 0 && step < 0 ? items.length - 1 : active + step + items.length) % items.length);
    } else if (listed && (e.key === 'Enter' || e.key === 'Tab') && (active >= 0 || (e.key === 'Tab' && place.current!.typed !== ''))) {
      choose(items[Math.max(0, active)]!);
    } else if (e.key === 'Enter') run();
    else if (e.key === 'Escape' && open) setOpen(false);
    else if (e.key === 'ArrowDown' && !open) ask(0);
    else return;
    e.preventDefault();
  };

  useEffect(() => {
    if (active >= 0) document.getElementById(`${id}-${active}`)?.scrollIntoView({ block: 'nearest' });
  }, [active]);

  const problem = shown ?? (refused && !mistake && text === value ? refusal(text, refused) : null);
  return (
    <div class="selector">
      <input
        ref={input}
        class={problem ? 'code wrong' : 'code'}
        value={text}
        spellcheck={false}
        autocomplete="off"
        autocapitalize="off"
        placeholder='everything — narrow it with service_name="…"'
        role="combobox"
        aria-label={label}
        aria-expanded={open && items.length > 0}
        aria-controls={id + '-list'}
        aria-autocomplete="list"
        aria-invalid={problem ? true : undefined}
        aria-describedby={problem ? id + '-problem' : undefined}
        {...(active >= 0 && { 'aria-activedescendant': `${id}-${active}` })}
        onInput={(e) => {
          setText(e.currentTarget.value);
          setTouched(false);
          ask(120);
        }}
        onFocus={() => ask(0)}
        onClick={() => ask(0)}
        onBlur={() => {
          control.current?.abort();
          setOpen(false);
          setTouched(true);
        }}
        onKeyDown={onKeyDown}
      />
      {text !== value && !open && (
        <button class="selector-run" onMouseDown={(e) => e.preventDefault()} onClick={run} title="Ask (Enter)">
          Ask ↵
        </button>
      )}
      {problem && (
        <p class="problem code" id={id + '-problem'} role="alert">
          <span aria-hidden="true">{' '.repeat(problem.at) + '▲ '}</span>
          {problem.message}
        </p>
      )}
      <ul id={id + '-list'} role="listbox" aria-label="Suggestions" class="popup code" hidden={!open || items.length === 0}>
        {items.map((item, i) => (
          <li id={`${id}-${i}`} key={item} role="option" aria-selected={i === active} onMouseDown={(e) => (e.preventDefault(), choose(item))}>
            {item}
            {place.current?.kind === 'operator' && <span class="quiet"> {OPERATORS[item]}</span>}
          </li>
        ))}
      </ul>
    </div>
  );
}
