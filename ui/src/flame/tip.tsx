import { useLayoutEffect, useRef } from 'preact/hooks';
import { change, share, value } from '../format';
import { Kind, type Tree } from '../tree/tree';

export const KIND_NAMES: Record<number, string> = { [Kind.Kernel]: 'kernel', [Kind.Unsymbolized]: 'no symbols', [Kind.Label]: 'label' };

interface TipProps {
  tree: Tree;
  node: number;
  unit: string;
  whole: number;
  baseWhole: number | undefined;
  zoomed: number; // the total of the node that is zoomed to; 0 for none
  rootName: string;
  x: number;
  y: number;
}

/** What is known of a frame, beside the pointer. */
export function Tip({ tree: t, node, unit, whole, baseWhole, zoomed, rootName, x, y }: TipProps) {
  const box = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    const { width, height } = box.current!.getBoundingClientRect();
    const left = x + 16 + width > innerWidth ? Math.max(4, x - width - 12) : x + 16;
    const top = y + 18 + height > innerHeight ? Math.max(4, y - height - 10) : y + 18;
    box.current!.style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px)`;
  });
  const f = t.frame[node]!, frames = t.frames, total = t.total[node]!, self = t.self[node]!;
  const kind = KIND_NAMES[frames.kind[f]!];
  const file = frames.file[f] && frames.file[f] + (frames.line[f] ? ':' + frames.line[f] : '');
  const row = (name: string, text: string, more = '') =>
    text && (
      <tr>
        <th scope="row">{name}</th>
        <td>
          {text} {more && <span class="quiet">{more}</span>}
        </td>
      </tr>
    );
  return (
    <div class="tip" ref={box} role="tooltip">
      <b>{node ? frames.name[f] : rootName}</b>
      {kind && <span class="tag">{kind}</span>}
      <table>
        <tbody>
          {row('Total', value(total, unit), share(total, whole))}
          {row('Self', value(self, unit), share(self, whole))}
          {zoomed > 0 && row('Of the zoom', share(total, zoomed))}
          {t.base && row('Before', value(t.base.total[node]!, unit), share(t.base.total[node]!, baseWhole ?? t.base.total[0]!))}
          {t.base && row('Change', change(total - t.base.total[node]!, unit), points(total / (whole || 1) - t.base.total[node]! / (baseWhole || t.base.total[0]! || 1)))}
          {row('File', file)}
          {row('Binary', frames.binary[f]!)}
          {row('Build ID', frames.buildID[f]!)}
        </tbody>
      </table>
    </div>
  );
}

/** A change of a share, in points of a hundred. */
export function points(change: number): string {
  const p = 100 * change;
  return (p > 0 ? '+' : p < 0 ? '−' : '±') + Math.abs(p).toFixed(Math.abs(p) < 10 ? 2 : 1) + ' points';
}
