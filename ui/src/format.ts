// How numbers are told to people.

const TIMES: [number, string][] = [[864e11, 'd'], [36e11, 'h'], [6e10, 'min'], [1e9, 's'], [1e6, 'ms'], [1e3, 'µs'], [1, 'ns']];
const COUNTS: [number, string][] = [[1e12, ' T'], [1e9, ' G'], [1e6, ' M'], [1e3, ' k'], [1, '']];
const BYTES: [number, string][] = [[2 ** 50, 'PiB'], [2 ** 40, 'TiB'], [2 ** 30, 'GiB'], [2 ** 20, 'MiB'], [2 ** 10, 'KiB'], [1, 'B']];

/** Nanoseconds of one of pprof's units of time; undefined for other units. */
const NANOS: Record<string, number> = { nanoseconds: 1, ns: 1, microseconds: 1e3, us: 1e3, milliseconds: 1e6, ms: 1e6, seconds: 1e9, s: 1e9 };

/** A value in its unit, to three digits: "1.23 s", "456 MiB", "7.89 k". */
export function value(v: number, unit: string): string {
  const nanos = NANOS[unit];
  if (nanos !== undefined) return scaled(v * nanos, TIMES, ' ');
  if (unit === 'bytes') return scaled(v, BYTES, ' ');
  return scaled(v, COUNTS, '');
}

/** A value with its sign, for differences. */
export function change(v: number, unit: string): string {
  return v > 0 ? '+' + value(v, unit) : v < 0 ? '−' + value(-v, unit) : '0';
}

function scaled(v: number, units: [number, string][], gap: string): string {
  const size = Math.abs(v);
  for (const [least, name] of units) {
    if (size >= least * 0.9995) return digits(v / least) + gap + name;
  }
  return v === 0 ? ('0 ' + units[units.length - 1]![1]).trim() : digits(v) + gap + units[units.length - 1]![1];
}

/** Three digits, never an exponent. */
function digits(v: number): string {
  const size = Math.abs(v);
  return v.toFixed(size >= 99.95 || Number.isInteger(v) ? 0 : size >= 9.995 ? 1 : 2);
}

/** A share of a whole: "12.3%", "<0.01%". */
export function share(part: number, whole: number): string {
  if (!whole) return '–';
  const percent = (100 * part) / whole;
  const size = Math.abs(percent);
  if (size === 0) return '0%';
  if (size < 0.01) return (percent < 0 ? '>−' : '<') + '0.01%';
  return percent.toFixed(size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2).replace('-', '−') + '%';
}

export const bytes = (n: number): string => value(n, 'bytes');
export const millis = (n: number): string => value(n, 'milliseconds');
export const count = (n: number): string => n.toLocaleString('en');
export const plural = (n: number, one: string, many = one + 's'): string => `${count(n)} ${n === 1 ? one : many}`;

/** A price, from fractions of a cent up. */
export function dollars(d: number): string {
  if (d === 0) return '$0';
  if (d < 1e-9) return '<$0.000000001';
  if (d >= 0.01) return '$' + d.toFixed(2);
  return '$' + d.toFixed(Math.min(9, 1 - Math.floor(Math.log10(d)))).replace(/0$/, '');
}

/** A plain number to three digits. */
export const ratio = (v: number): string => (v === 0 ? '0' : scaled(v, COUNTS, ''));

/** How long ago, or a duration: "3 min", "2.5 h". */
export const duration = (ms: number): string => value(Math.round(ms / 100) * 100, 'milliseconds');

/** An instant in the zone of the page, to the second; the day is left out when it is today's. */
export function instant(ms: number, utc: boolean, whole = false): string {
  const d = new Date(ms);
  const two = (n: number) => String(n).padStart(2, '0');
  const [y, mo, da, h, mi, s] = utc
    ? [d.getUTCFullYear(), d.getUTCMonth(), d.getUTCDate(), d.getUTCHours(), d.getUTCMinutes(), d.getUTCSeconds()]
    : [d.getFullYear(), d.getMonth(), d.getDate(), d.getHours(), d.getMinutes(), d.getSeconds()];
  const now = new Date();
  const today = utc
    ? y === now.getUTCFullYear() && mo === now.getUTCMonth() && da === now.getUTCDate()
    : y === now.getFullYear() && mo === now.getMonth() && da === now.getDate();
  const time = `${two(h)}:${two(mi)}:${two(s)}`;
  return today && !whole ? time : `${y}-${two(mo + 1)}-${two(da)} ${time}`;
}

/** A time of an axis that spans so many milliseconds. */
export function axisTime(ms: number, utc: boolean, span: number): string {
  const text = instant(ms, utc, true);
  if (span > 4 * 864e5) return text.slice(5, 10);
  if (span > 864e5) return text.slice(5, 16);
  return text.slice(11, span < 5 * 6e4 ? 19 : 16);
}
