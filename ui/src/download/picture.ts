// The flame graph as a picture of its own: what is zoomed to, whole, wide enough to be read.

import { value, share } from '../format';
import { charWidth, contentHeight, paint, ROW, rowOf, type View } from '../flame/paint';
import { changeColors, changeSteps, DARK, LIGHT, palette } from '../flame/palette';
import type { ColorBy } from '../tree/names';
import type { Tree } from '../tree/tree';

export interface Picture {
  tree: Tree;
  unit: string;
  root: number;
  by: ColorBy;
  flip: boolean;
  dark: boolean;
  marked: Uint8Array | null;
  title: string;
}

const WIDTH = 1600, TITLE = 34;

function viewOf(p: Picture): View {
  const colors = palette(p.tree.frames, p.by, p.dark);
  const steps = p.tree.base && changeSteps(p.tree, true), changes = changeColors(p.dark);
  return {
    tree: p.tree, root: p.root, width: WIDTH, height: contentHeight(p.tree), scroll: 0, flip: p.flip,
    inks: p.dark ? DARK : LIGHT, fill: (i) => (steps ? changes[steps[i]!]! : colors[p.tree.frame[i]!]!), marked: p.marked,
    rootName: `all  ${value(p.tree.total[0]!, p.unit)}`, charWidth: charWidth(),
  };
}

export function png(p: Picture): Promise<Blob> {
  const v = viewOf(p), canvas = document.createElement('canvas'), density = 2;
  v.height = Math.min(v.height, Math.floor(16_000 / density) - TITLE); // what browsers let a canvas be
  canvas.width = WIDTH * density;
  canvas.height = (v.height + TITLE) * density;
  const ctx = canvas.getContext('2d', { alpha: false })!;
  ctx.scale(density, density);
  ctx.fillStyle = v.inks.paper;
  ctx.fillRect(0, 0, WIDTH, TITLE);
  ctx.fillStyle = v.inks.ink;
  ctx.font = '600 13px system-ui, sans-serif';
  ctx.textBaseline = 'middle';
  ctx.fillText(p.title, 6, TITLE / 2);
  ctx.translate(0, TITLE);
  paint(ctx, v);
  return new Promise((done, fail) => canvas.toBlob((blob) => (blob ? done(blob) : fail(new Error('the browser made no picture')))));
}

const escape = (s: string): string => s.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

/** Scalable, with what the tips say as titles; boxes narrower than a fifth of a pixel are left out. */
export function svg(p: Picture): string {
  const v = viewOf(p), t = p.tree, whole = t.total[0]!, scale = WIDTH / (t.weight[p.root]! || 1);
  const parts: string[] = [];
  const box = (i: number, x: number, w: number) => {
    const f = t.frame[i]!, name = i ? t.frames.name[f]! : 'all', y = rowOf(v, t.depth[i]!) + TITLE;
    const dim = v.marked && i && !v.marked[f] ? ' opacity=".3"' : '', letters = Math.floor((w - 6) / 6.9);
    const text = letters > 2 ? `<text x="${(x + 4).toFixed(1)}" y="${y + 13}">${escape(name.length > letters ? name.slice(0, letters - 1) + '…' : name)}</text>` : '';
    parts.push(
      `<g><title>${escape(name)}: ${value(t.total[i]!, p.unit)} (${share(t.total[i]!, whole)}), self ${value(t.self[i]!, p.unit)}</title>` +
        `<rect x="${x.toFixed(1)}" y="${y}" width="${Math.max(0.2, w - 0.6).toFixed(1)}" height="${ROW - 1}" fill="${v.fill(i)}"${dim}/>${text}</g>`,
    );
  };
  for (let q = t.parent[p.root]!; q >= 0; q = t.parent[q]!) box(q, 0, WIDTH);
  for (let i = p.root; i < t.end[p.root]!; ) {
    const w = t.weight[i]! * scale;
    if (w < 0.2) {
      i = t.end[i]!;
      continue;
    }
    box(i, (t.start[i]! - t.start[p.root]!) * scale, w);
    i++;
  }
  const height = contentHeight(t) + TITLE;
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" font-family="ui-monospace,Menlo,Consolas,monospace" font-size="11.5" fill="${v.inks.ink}">` +
    `<rect width="100%" height="100%" fill="${v.inks.paper}"/><text x="6" y="22" font-family="system-ui,sans-serif" font-size="13" font-weight="600">${escape(p.title)}</text>${parts.join('')}</svg>`
  );
}
