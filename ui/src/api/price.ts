import type { Stats } from './answers';

/**
 * What an answer is made of, and what it cost together with others that were asked for beside it.
 * What is missing of any of them is told once.
 */
export function together(answer: Stats, ...beside: Stats[]): Stats {
  const total = { ...answer };
  for (const s of beside) {
    for (const key of ['requests', 'bytes', 'cache_hits', 'cache_bytes', 'cpu_ms', 'dollars'] as const) total[key] += s[key];
    total.ms = Math.max(total.ms, s.ms); // they were asked at once
    const told = new Set(total.missing.map((m) => m.key));
    total.missing = [...total.missing, ...s.missing.filter((m) => !told.has(m.key))];
  }
  return total;
}
