import { changeOf } from '../tree/compare';
import { colorKey, type ColorBy } from '../tree/names';
import { Kind, type Frames, type Tree } from '../tree/tree';

/** A colour of even lightness for every hue, as hex, which canvas, SVG and CSS all read. h in degrees, l and c as in oklch(). */
export function oklch(l: number, c: number, h: number): string {
  const a = c * Math.cos((h * Math.PI) / 180), b = c * Math.sin((h * Math.PI) / 180);
  const long = (l + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const medium = (l - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const short = (l - 0.0894841775 * a - 1.291485548 * b) ** 3;
  const channel = (linear: number) => {
    const v = Math.min(1, Math.max(0, linear));
    const gamma = v <= 0.0031308 ? 12.92 * v : 1.055 * v ** (1 / 2.4) - 0.055;
    return Math.round(255 * gamma).toString(16).padStart(2, '0');
  };
  return (
    '#' +
    channel(4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short) +
    channel(-1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short) +
    channel(-0.0041960863 * long - 0.7034186147 * medium + 1.707614701 * short)
  );
}

function hash(text: string): number {
  let h = 2166136261;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 16777619);
  return h >>> 0;
}

/** What a canvas is painted with. */
export interface Inks {
  paper: string;
  ink: string;
  root: string;
  dimInk: string; // of frames that a search did not find
  stub: string; // of what is too narrow
  stripe: string; // over frames without symbols
}

export const LIGHT: Inks = { paper: '#ffffff', ink: '#16202a', root: '#dfe5ea', dimInk: '#5f6b76', stub: '#e3e8ed', stripe: 'rgba(22,32,42,.13)' };
export const DARK: Inks = { paper: '#12171d', ink: '#eef2f5', root: '#333d47', dimInk: '#8996a3', stub: '#2a323b', stripe: 'rgba(255,255,255,.12)' };

const KERNEL_HUE = 62; // amber, which no other key gets
const GREY = 0.012;

/** The colour of a key, as a package's name. jitter in [0, 1) tells its members apart a little. */
export function colorOf(key: string, dark: boolean, jitter = 0.5): string {
  const light = (dark ? 0.42 : 0.85) + (jitter - 0.5) * 0.05;
  if (key === 'kernel') return oklch(light, dark ? 0.085 : 0.1, KERNEL_HUE);
  if (key === 'no symbols' || key.startsWith('(no ')) return oklch(light, GREY, 250);
  const h = hash(key);
  const hue = 100 + (h % 282); // 100 to 382: everything but the kernel's amber
  return oklch(light + (((h >>> 10) % 8) - 3.5) * 0.006, (dark ? 0.065 : 0.062) + ((h >>> 16) % 4) * 0.008, hue);
}

/** The colour of each frame. */
export function palette(frames: Frames, by: ColorBy, dark: boolean): string[] {
  const made = new Map<string, string>();
  return frames.name.map((name, f) => {
    if (f === 0) return dark ? DARK.root : LIGHT.root;
    if (frames.kind[f] === Kind.Label) return oklch(dark ? 0.36 : 0.9, 0.025, 235);
    const key = colorKey(frames, by, f), shade = hash(name) % 5, memo = shade + key;
    let color = made.get(memo);
    if (!color) made.set(memo, (color = colorOf(key, dark, shade / 5)));
    return color;
  });
}

const STEPS = 24; // of each colour of a difference

/** Less is blue, more is orange, the same is grey: a pair that people with any colour vision tell apart. */
export function changeColors(dark: boolean): string[] {
  return Array.from({ length: 2 * STEPS + 1 }, (_, k) => {
    const c = (k - STEPS) / STEPS, strong = Math.sqrt(Math.abs(c));
    if (c === 0) return oklch(dark ? 0.33 : 0.92, GREY / 2, 250);
    const light = dark ? 0.35 + 0.2 * strong : 0.93 - 0.2 * strong;
    return oklch(light, 0.015 + 0.125 * strong, c < 0 ? 250 : 58);
  });
}

/** Which of changeColors a change in [-1, 1] takes. */
export const changeStep = (c: number): number => STEPS + Math.round(c * STEPS);

/** For each node of a comparison, which of changeColors it takes. */
export function changeSteps(t: Tree, relative: boolean): Uint8Array {
  const steps = new Uint8Array(t.size), base = t.base!.total;
  for (let i = 0; i < t.size; i++) steps[i] = changeStep(changeOf(base[i]!, t.total[i]!, base[0]!, t.total[0]!, relative));
  return steps;
}
