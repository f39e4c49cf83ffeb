/// <reference types="node" />
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { canonical, complete, parse, refusal, withMatcher } from './grammar';

test('what is right is read', () => {
  for (const text of ['', '{}', 'job="api"', '{job="api", pod=~"a|b"}', 'cpu:samples{a!="x",}', `a='x', b!~"y"`, 'a="q\\"uote"']) {
    assert.equal(parse(text).mistake, null, text);
  }
  assert.deepEqual(parse('job="api", pod=~"a|b"').matchers, [{ name: 'job', operator: '=', value: 'api' }, { name: 'pod', operator: '=~', value: 'a|b' }]);
});

test('what is wrong is pointed at', () => {
  for (const [text, at, says] of [
    ['job', 3, /after job/], ['job=', 4, /quotes/], ['job="api', 4, /not closed/], ['job="a" pod="b"', 8, /comma/],
    ['a=~"("', 4, /regular/], ['9="x"', 0, /begins with/], ['{a="b"', 6, /closing/], ['a="b"}', 5, /no \{/],
  ] as const) {
    const { mistake } = parse(text);
    assert.equal(mistake?.at, at, text);
    assert.match(mistake!.message, says, text);
  }
});

test('the place of the caret', () => {
  for (const [text, kind, typed, name] of [
    ['|', 'name', '', ''], ['jo|', 'name', 'jo', ''], ['job|', 'name', 'job', ''], ['job |', 'operator', '', 'job'], ['job!|', 'operator', '!', 'job'], ['job=|', 'value', '', 'job'], ['job="|', 'value', '', 'job'], ['job="ap|i"', 'value', 'ap', 'job'],
    ['job="api", p|', 'name', 'p', ''], ['job="api", |', 'name', '', ''], ['{job=~"x", pod="a|"}', 'value', 'a', 'pod'],
  ] as const) {
    const caret = text.indexOf('|'), { place } = parse(text.replace('|', ''), caret);
    assert.deepEqual([place.kind, place.typed, place.name], [kind, typed, name], text);
  }
});

test('a choice is put in its place', () => {
  for (const [text, choice, want] of [
    ['jo|', 'job', 'job="|'], ['jo|="x"', 'job', 'job|="x"'], ['job!|', '!~', 'job!~"|'], ['job=|', 'api', 'job="api"|'], ['job="a|', 'api', 'job="api"|'], ['job="a|", pod="x"', 'api', 'job="api"|, pod="x"'],
  ] as const) {
    const caret = text.indexOf('|'), bare = text.replace('|', '');
    const done = complete(bare, parse(bare, caret).place, choice);
    assert.equal(done.text.slice(0, done.caret) + '|' + done.text.slice(done.caret), want, text);
  }
});

test('forms of one selector', () => {
  assert.equal(canonical('job="api"'), '{job="api"}');
  assert.equal(canonical(' cpu:x{a="b"} '), 'cpu:x{a="b"}');
  assert.equal(canonical('a="{"'), '{a="{"}');
  assert.equal(withMatcher('job="api", pod="x"', 'pod', 'y"z'), 'job="api", pod="y\\"z"');
});

test('what the server refuses is pointed at', () => {
  const parseError = (selector: string, what: string) => `query: selector ${JSON.stringify(selector)}: ${what}: invalid`;
  for (const [text, message, at, says] of [
    ['pod=~"(?=a)b"', parseError('{pod=~"(?=a)b"}', '1:2: parse error: error parsing regexp: invalid or unsupported Perl syntax: `(?=`'), 6, 'error parsing regexp: invalid or unsupported Perl syntax: `(?=`'],
    ['x="a" b="c"', parseError('{x="a" b="c"}', '1:8: parse error: unexpected identifier "b" in label matching'), 6, 'unexpected identifier "b" in label matching'],
    ['{x="a" b="c"}', parseError('{x="a" b="c"}', '1:8: parse error: unexpected identifier "b" in label matching'), 7, 'unexpected identifier "b" in label matching'],
    ['x="a"', 'query: 70 matchers, at most 64', 0, 'query: 70 matchers, at most 64'],
  ] as const) assert.deepEqual(refusal(text, message), { at, message: says });
});
