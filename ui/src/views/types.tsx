import type { ProfileType } from '../api/answers';

/** What to show first: where the time goes, if anybody knows, else whatever there is. */
export function firstType(types: ProfileType[]): string {
  const rank = (t: ProfileType) => {
    const cpu = /cpu|on_cpu/.test(t.name + t.sample_type);
    return (cpu ? 0 : 4) + (t.sample_unit === 'nanoseconds' ? 0 : 1) + (t.delta ? 0 : 1);
  };
  return types.slice().sort((a, b) => rank(a) - rank(b))[0]?.type ?? '';
}

/** The unit of values of a type, from its name. */
export const unitOf = (type: string): string => type.split(':')[2] ?? '';

/** Values of a type that is no delta are levels, as memory in use: they do not add up over time. */
export const isLevel = (type: string): boolean => type !== '' && !type.endsWith(':delta');

export const shortType = (type: string): string => type.split(':').slice(0, 2).join('/');

/** The profile types there are. One that is not among them, as of an old link, stays on the list. */
export function TypeSelect({ types, value, onChange }: { types: ProfileType[]; value: string; onChange(type: string): void }) {
  const byName = new Map<string, ProfileType[]>();
  for (const t of types) byName.set(t.name, [...(byName.get(t.name) ?? []), t]);
  return (
    <select class="type" aria-label="Profile type" value={value} onChange={(e) => onChange(e.currentTarget.value)}>
      {!types.some((t) => t.type === value) && <option value={value}>{value ? shortType(value) : 'no types'}</option>}
      {[...byName].map(([name, list]) => (
        <optgroup key={name} label={name}>
          {list.map((t) => (
            <option key={t.type} value={t.type}>
              {t.name} / {t.sample_type}
            </option>
          ))}
        </optgroup>
      ))}
    </select>
  );
}
