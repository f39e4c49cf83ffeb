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

/** Values of a type that is no delta are levels, as memory in use: they do not add up over time. A type's short form does not say. */
export const isLevel = (type: string): boolean => type.includes(':') && !type.endsWith(':delta');

export const shortType = (type: string): string => type.split(':').slice(0, 2).join('/');
