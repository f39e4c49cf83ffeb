import { useState } from 'preact/hooks';
import { MenuButton } from '../parts/menu';
import { FIELDS, filterOf, fromURL, toURL, words, type Field, type Filter, type What } from '../state/filters';
import { go } from '../state/url';
import type { Page } from './page';

/** The filters that hold, each to be taken away, and a form for another. */
export function FilterBar({ page }: { page: Page }) {
  const filters = fromURL(page.state);
  const set = (list: Filter[]) => go({ ...toURL(list), zoom: undefined });
  return (
    <>
      <MenuButton label={<>+ Filter</>} title="Add a filter on stacks or frames">
        {(close) => <FilterForm onAdd={(f) => (close(), set([...filters, f]))} />}
      </MenuButton>
      {filters.map((f, i) => (
        <span key={i} class={'chip chip-' + f.what}>
          {words(f)}
          <button class="plain" aria-label={`Remove the filter: ${words(f)}`} onClick={() => set(filters.filter((_, k) => k !== i))}>
            ✕
          </button>
        </span>
      ))}
    </>
  );
}

const WHAT: [What, string][] = [['keep', 'Keep stacks with'], ['drop', 'Drop stacks with'], ['hide', 'Hide frames with']];
const HOW: ['*=' | '=' | '^=', string][] = [['*=', 'containing'], ['=', 'equal to'], ['^=', 'beginning with']];

function FilterForm({ onAdd }: { onAdd(f: Filter): void }) {
  const [what, setWhat] = useState<What>('keep'), [field, setField] = useState<Field>('function');
  const [how, setHow] = useState<'*=' | '=' | '^='>('*='), [text, setText] = useState('');
  const add = () => text && onAdd(filterOf(what, field, how, text));
  return (
    <div class="filter-form">
      <select aria-label="What the filter does" value={what} onChange={(e) => setWhat(e.currentTarget.value as What)}>
        {WHAT.map(([v, name]) => (
          <option key={v} value={v}>{name}</option>
        ))}
      </select>
      <select aria-label="What it looks at" value={field} onChange={(e) => setField(e.currentTarget.value as Field)}>
        {FIELDS.map((v) => (
          <option key={v} value={v}>a {v}</option>
        ))}
      </select>
      <select aria-label="How it compares" value={how} onChange={(e) => setHow(e.currentTarget.value as '*=')}>
        {HOW.map(([v, name]) => (
          <option key={v} value={v}>{name}</option>
        ))}
      </select>
      <input class="code" aria-label="Text of the filter" value={text} placeholder="malloc" onInput={(e) => setText(e.currentTarget.value)} onKeyDown={(e) => e.key === 'Enter' && add()} />
      <button class="primary" disabled={!text} onClick={add}>
        Add
      </button>
    </div>
  );
}
