/// <reference types="node" />
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { changeColors, changeStep, colorOf } from './palette';

type RGB = [number, number, number];

const linear = (hex: string): RGB => [1, 3, 5].map((at) => ((parseInt(hex.slice(at, at + 2), 16) / 255 + 0.055) / 1.055) ** 2.4) as RGB;

/** How those see linear light who lack one kind of cones: Machado, Oliveira and Fernandes 2009, severity 1. */
const SIGHT: Record<string, [RGB, RGB, RGB]> = {
  usual: [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
  protanopia: [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
  deuteranopia: [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
  tritanopia: [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
};

/** Distance in OKLab, in which 0.02 is about what people just tell apart. */
function distance(a: RGB, b: RGB): number {
  const [p, q] = [a, b].map(([r, g, b]) => {
    const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
    const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
    const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
    return [0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s, 1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s, 0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s];
  });
  return Math.hypot(...p!.map((v, k) => v - q![k]!));
}

test('less, the same and more are told apart with any sight, in both themes', () => {
  for (const [sight, m] of Object.entries(SIGHT)) {
    const seen = (hex: string): RGB => m.map((row) => Math.max(0, row.reduce((sum, k, i) => sum + k * linear(hex)[i]!, 0))) as RGB;
    for (const dark of [false, true]) {
      const colors = changeColors(dark), at = (c: number) => seen(colors[changeStep(c)]!);
      for (const c of [0.25, 0.5, 1]) {
        const apart = [distance(at(-c), at(c)), distance(at(0), at(c)), distance(at(0), at(-c))];
        assert.ok(Math.min(...apart) > 0.04, `${sight}, dark ${dark}, change ${c}: ${apart.map((d) => d.toFixed(3))}`);
      }
      assert.ok(distance(at(0.25), at(1)) > 0.04 && distance(at(-0.25), at(-1)) > 0.04, `${sight}, dark ${dark}: how much`);
    }
  }
});

test('nothing of a user has the colour of the kernel or of what has no name', () => {
  for (const dark of [false, true]) {
    const special = [colorOf('kernel', dark), colorOf('no symbols', dark)];
    for (let i = 0; i < 500; i++) assert.ok(!special.includes(colorOf('example.com/pkg' + i, dark)));
  }
});
