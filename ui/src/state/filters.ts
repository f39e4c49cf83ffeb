// Filters on stacks and frames, in the words of the API ("function*=malloc"). The URL holds them one a line.

export type What = 'keep' | 'drop' | 'hide';

export const FIELDS = ['function', 'file', 'binary'] as const;
export type Field = (typeof FIELDS)[number];

export interface Filter {
  what: What;
  condition: string; // as the API takes it
}

const NOT: Record<string, string> = { '=': '!=', '*=': '!*=', '^=': '!^=' };

/** A filter of its parts. What is dropped or hidden is told by a negated operator. */
export function filterOf(what: What, field: Field, operator: '=' | '*=' | '^=', value: string): Filter {
  return { what, condition: field + (what === 'keep' ? operator : NOT[operator]) + value };
}

/** How people read a filter. */
export function words(f: Filter): string {
  const [, field, operator, value] = /^(\w+)(!?[*^]?=)([^]*)$/.exec(f.condition) ?? ['', '', '', f.condition];
  const how = operator!.includes('*') ? ' contains ' : operator!.includes('^') ? ' begins with ' : ' is ';
  return `${f.what} ${field}${how}${value}`;
}

/** Filters as parameters of the URL: filter for stacks, hide for frames. */
export function toURL(filters: Filter[]): { filter: string; hide: string } {
  const lines = (ok: (w: What) => boolean) => filters.filter((f) => ok(f.what)).map((f) => f.condition).join('\n');
  return { filter: lines((w) => w !== 'hide'), hide: lines((w) => w === 'hide') };
}

export function fromURL(state: Readonly<Record<string, string>>): Filter[] {
  const list = (text: string | undefined) => (text ? text.split('\n') : []);
  return [
    ...list(state.filter).map((condition): Filter => ({ what: /^\w+!/.test(condition) ? 'drop' : 'keep', condition })),
    ...list(state.hide).map((condition): Filter => ({ what: 'hide', condition })),
  ];
}

/** Filters as parameters of the API. */
export function toAPI(filters: Filter[]): { filter: string[]; frame_filter: string[] } {
  const conditions = (ok: (w: What) => boolean) => filters.filter((f) => ok(f.what)).map((f) => f.condition);
  return { filter: conditions((w) => w !== 'hide'), frame_filter: conditions((w) => w === 'hide') };
}
