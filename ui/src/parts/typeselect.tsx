import type { ProfileType } from '../api/answers';
import { shortType } from '../views/types';

/** The profile types there are. One that is not among them, as of an old link, stays on the list. */
export function TypeSelect({ types, value, onChange }: { types: ProfileType[]; value: string; onChange(type: string): void }) {
  const byName = new Map<string, ProfileType[]>();
  for (const t of types) byName.set(t.name, [...(byName.get(t.name) ?? []), t]);
  // What levels and what adds up may have the same name, as memory that was scraped and memory that was pushed.
  const told = (t: ProfileType, list: ProfileType[]) =>
    `${t.name} / ${t.sample_type}` + (list.some((other) => other !== t && other.sample_type === t.sample_type) ? ` (${t.delta ? 'delta' : 'level'})` : '');
  return (
    <select class="type" aria-label="Profile type" value={value} onChange={(e) => onChange(e.currentTarget.value)}>
      {!types.some((t) => t.type === value) && <option value={value}>{value ? shortType(value) : 'no types'}</option>}
      {[...byName].map(([name, list]) => (
        <optgroup key={name} label={name}>
          {list.map((t) => (
            <option key={t.type} value={t.type}>
              {told(t, list)}
            </option>
          ))}
        </optgroup>
      ))}
    </select>
  );
}
