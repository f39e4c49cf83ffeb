// Selectors as they are typed: job="api", pod=~"a|b". The server has the last word; this reads
// enough to complete what is being typed and to point at what is wrong while it is.

export interface Matcher {
  name: string;
  operator: string;
  value: string;
}

export interface Mistake {
  at: number; // the letter it is under
  message: string;
}

/** What may be completed at the caret. */
export interface Place {
  kind: 'name' | 'operator' | 'value';
  from: number; // what a choice replaces
  to: number;
  typed: string; // of it, up to the caret
  name: string; // the label, for operators and values
}

const OPERATORS = ['=~', '!~', '!=', '='];

/** Reads a selector; braces around it may be left out. place is of the caret, when one is given. */
export function parse(text: string, caret = -1): { matchers: Matcher[]; mistake: Mistake | null; place: Place } {
  const matchers: Matcher[] = [];
  let place: Place = { kind: 'name', from: caret, to: caret, typed: '', name: '' };
  const here = (from: number, to: number) => caret >= from && caret <= to;
  const fail = (at: number, message: string) => ({ matchers, mistake: { at, message }, place });
  let i = 0;
  const skip = () => {
    while (i < text.length && /\s/.test(text[i]!)) i++;
  };

  skip();
  const metric = /^[a-zA-Z_:][\w:]*(?=\s*\{)/.exec(text.slice(i));
  if (metric) i += metric[0].length;
  skip();
  const braced = text[i] === '{';
  if (braced) i++;
  for (;;) {
    skip();
    if (i >= text.length || text[i] === '}') break;
    const from = i, name = /^[a-zA-Z_][\w]*/.exec(text.slice(i))?.[0] ?? '';
    i += name.length;
    const nameEnd = i;
    if (here(from, i)) place = { kind: 'name', from, to: i, typed: text.slice(from, caret), name: '' };
    if (!name) return fail(i, `a label's name begins with a letter or _, not ${text[i]}`);
    skip();
    const opFrom = i, operator = OPERATORS.find((op) => text.startsWith(op, i)) ?? '';
    i += operator.length;
    const partial = operator ? 0 : /^[!~]?/.exec(text.slice(i))![0].length;
    if (caret > nameEnd && caret <= i + partial) {
      place = { kind: 'operator', from: Math.min(opFrom, caret), to: i + partial, typed: text.slice(opFrom, caret), name };
    }
    if (!operator) return fail(Math.min(i, text.length), `after ${name} comes =, !=, =~ or !~`);
    skip();
    const quote = text[i];
    if (quote !== '"' && quote !== "'" && quote !== '`') {
      if (here(opFrom + operator.length, i)) place = { kind: 'value', from: i, to: i, typed: '', name };
      return fail(i, `a value stands in quotes: ${name}${operator}"…"`);
    }
    const valueFrom = ++i;
    while (i < text.length && text[i] !== quote) i += text[i] === '\\' && quote !== '`' ? 2 : 1;
    i = Math.min(i, text.length);
    if (here(valueFrom, i)) place = { kind: 'value', from: valueFrom, to: i, typed: text.slice(valueFrom, caret), name };
    if (i >= text.length) return fail(valueFrom - 1, 'this quote is not closed');
    const value = text.slice(valueFrom, i).replace(/\\(.)/g, '$1');
    const bad = operator.includes('~') && regexpMistake(value);
    if (bad) return fail(valueFrom, bad);
    matchers.push({ name, operator, value });
    i++;
    skip();
    if (text[i] === ',') {
      i++;
      continue;
    }
    if (i < text.length && text[i] !== '}') return fail(i, 'between two conditions stands a comma');
  }
  if (braced) {
    if (text[i] !== '}') return fail(text.length, 'this wants a closing }');
    i++;
    skip();
    if (i < text.length) return fail(i, 'nothing comes after the closing }');
  } else if (text[i] === '}') return fail(i, 'there is no { before this }');
  return { matchers, mistake: null, place };
}

function regexpMistake(value: string): string {
  try {
    new RegExp(value);
    return '';
  } catch (err) {
    return `not a regular expression: ${String((err as Error).message).replace(/^Invalid regular expression: /, '')}`;
  }
}

/** What the server finds wrong with a selector, under the letter where it does: it names a column, or the part of a regular expression. */
export function refusal(text: string, message: string): Mistake {
  const [, column, what] = /(?:\b1:(\d+): )?parse error: (.*?)(?:: invalid)?$/s.exec(message) ?? [];
  const part = /`([^`]+)`$/.exec(what ?? '')?.[1], added = canonical(text).indexOf(text.trim());
  const at = part ? text.indexOf(part) : Number(column ?? 1) - 1 - added;
  return { at: Math.max(0, Math.min(at, text.length)), message: what ?? message };
}

/** The selector as the API takes it. */
export function canonical(text: string): string {
  const bare = text.trim();
  return bare.includes('{') && !/^[^{]*["'`]/.test(bare) ? bare : `{${bare}}`;
}

const quoted = (value: string): string => '"' + value.replace(/["\\]/g, '\\$&') + '"';

/** The selector with a condition more, in place of one on the same label. */
export function withMatcher(text: string, name: string, value: string, operator = '='): string {
  const { matchers, mistake } = parse(text);
  if (mistake) return `${name}${operator}${quoted(value)}`;
  const kept = matchers.filter((m) => m.name !== name);
  return [...kept, { name, operator, value }].map((m) => `${m.name}${m.operator}${quoted(m.value)}`).join(', ');
}

/** The text after a choice, and where the caret goes. */
export function complete(text: string, place: Place, choice: string): { text: string; caret: number } {
  let insert = choice;
  // Most conditions are equations, so a name brings its = and the opening quote.
  if (place.kind === 'name' && !/^\s*[=!]/.test(text.slice(place.to))) insert += '="';
  if (place.kind === 'operator') insert += text[place.to] === '"' ? '' : '"';
  if (place.kind === 'value') {
    insert = choice.replace(/["\\]/g, '\\$&');
    if (text[place.from - 1] !== '"') insert = '"' + insert;
    if (text[place.to] !== '"') insert += '"';
    else place = { ...place, to: place.to + 1 }, (insert += '"');
  }
  return { text: text.slice(0, place.from) + insert + text.slice(place.to), caret: place.from + insert.length };
}
