import type { Tree } from '../tree/tree';

/** The tree as a speedscope file: one stack and its value for each node that has a value of its own. */
export function speedscope(t: Tree, name: string, unit: string): string {
  const frames = t.frames.name.map((n, f) => ({ name: n || 'all', ...(t.frames.file[f] && { file: t.frames.file[f] }), ...(t.frames.line[f] && { line: t.frames.line[f] }) }));
  const samples: number[][] = [], weights: number[] = [];
  for (let i = 0; i < t.size; i++) {
    if (!t.self[i]) continue;
    const stack: number[] = [];
    for (let q = i; q > 0; q = t.parent[q]!) stack.push(t.frame[q]!);
    samples.push(stack.reverse());
    weights.push(t.self[i]!);
  }
  const units = ['nanoseconds', 'microseconds', 'milliseconds', 'seconds', 'bytes'];
  return JSON.stringify({
    $schema: 'https://www.speedscope.app/file-format-schema.json',
    shared: { frames },
    profiles: [{ type: 'sampled', name, unit: units.includes(unit) ? unit : 'none', startValue: 0, endValue: weights.reduce((a, b) => a + b, 0), samples, weights }],
    exporter: 'coldframe',
  });
}
