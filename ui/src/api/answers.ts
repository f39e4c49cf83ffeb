// The shapes of api/openapi.yaml that the page reads.

/** How complete an answer is, and what it cost. */
export interface Stats {
  blocks: number;
  ok: number;
  missing: { key: string; reason: string }[];
  reason?: string;
  profiles: number;
  requests: number;
  bytes: number;
  cache_hits: number;
  cache_bytes: number;
  cpu_ms: number;
  ms: number;
  dollars: number;
}

export interface ProfileType {
  type: string;
  name: string;
  sample_type: string;
  sample_unit: string;
  period_type: string;
  period_unit: string;
  delta: boolean;
}

export interface TypeList {
  types: ProfileType[];
  stats: Stats;
}

export interface SeriesList {
  type: string;
  unit: string;
  from: string;
  to: string;
  step_ms: number;
  series: { labels: Record<string, string>; points: [number, number][] }[];
  stats: Stats;
}

export interface FlamegraphHead {
  type: string;
  unit: string;
  from: string;
  to: string;
  total: number;
  filtered: number; // what filters left out
  cut: number;
  stats: Stats;
}
