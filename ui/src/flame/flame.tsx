import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
import { probe } from '../probe';
import { share, value } from '../format';
import type { ColorBy } from '../tree/names';
import type { Tree } from '../tree/tree';
import { changeColors, changeSteps, DARK, LIGHT, palette } from './palette';
import { charWidth, contentHeight, nodeAt, paint, placeOf, ROW, rowOf, sibling, widestChild, type View } from './paint';
import { Tip } from './tip';

export interface FlameProps {
  tree: Tree;
  unit: string;
  label: string; // what it shows, for those who hear it
  rootName: string;
  root: number;
  onRoot(node: number): void;
  by: ColorBy;
  flip: boolean;
  dark: boolean;
  marked: Uint8Array | null;
  relative?: boolean; // of a comparison
  whole?: number; // what shares are of; the root's total
  baseWhole?: number;
  onMenu(node: number, x: number, y: number): void;
  onSandwich(node: number): void;
}

/** Calls back when what was painted is on the screen, as near as a page can tell. */
function afterFrame(then: () => void) {
  requestAnimationFrame(() => {
    const channel = new MessageChannel();
    channel.port1.onmessage = then;
    channel.port2.postMessage(0);
  });
}

/** A call tree as a canvas: the pointer and the keyboard both get everywhere. */
export function Flame(props: FlameProps) {
  const { tree: t, root, flip, dark, by, marked, unit } = props;
  const outer = useRef<HTMLDivElement>(null), canvas = useRef<HTMLCanvasElement>(null);
  const [size, setSize] = useState({ width: 0, height: 0 });
  const [hover, setHover] = useState<{ node: number; x: number; y: number } | null>(null);
  const [cursor, setCursor] = useState(-1);
  const whole = props.whole ?? t.total[0]!;

  useLayoutEffect(() => {
    const box = outer.current!;
    const measure = () => setSize({ width: box.clientWidth, height: box.clientHeight });
    const watch = new ResizeObserver(measure);
    watch.observe(box);
    measure();
    return () => watch.disconnect();
  }, []);

  const fill = useMemo(() => {
    if (t.base) {
      const colors = changeColors(dark), steps = changeSteps(t, props.relative ?? true);
      return (i: number) => colors[steps[i]!]!;
    }
    const colors = palette(t.frames, by, dark);
    return (i: number) => colors[t.frame[i]!]!;
  }, [t, by, dark, props.relative]);

  const rootName = `${props.rootName}  ${value(t.total[0]!, unit)}`;
  const view = useRef<View | null>(null);
  view.current = { tree: t, root, ...size, scroll: outer.current?.scrollTop ?? 0, flip, inks: dark ? DARK : LIGHT, fill, marked, rootName, charWidth: charWidth() };

  const repaint = useCallback(() => {
    const v = view.current!, c = canvas.current!;
    if (!v.width || !v.height) return;
    const began = performance.now(), density = devicePixelRatio || 1;
    if (c.width !== Math.round(v.width * density) || c.height !== Math.round(v.height * density)) {
      c.width = Math.round(v.width * density);
      c.height = Math.round(v.height * density);
    }
    const ctx = c.getContext('2d', { alpha: false })!;
    ctx.setTransform(density, 0, 0, density, 0, 0);
    const boxes = paint(ctx, v);
    if (!probe.firstPaint) afterFrame(() => (probe.firstPaint ??= performance.now()));
    probe.flame = {
      boxes, ms: performance.now() - began, nodes: v.tree.size, root: v.root, flip: v.flip,
      rootName: v.tree.frames.name[v.tree.frame[v.root]!], label: props.label, paints: ((probe.flame as { paints?: number })?.paints ?? 0) + 1,
      marked: v.marked ? v.marked.reduce((n, m) => n + m, 0) : 0,
      place: (name: string) => {
        for (let i = 0; i < v.tree.size; i++) {
          const at = v.tree.frames.name[v.tree.frame[i]!] === name ? placeOf(v, i) : null;
          if (at) return { ...at, top: at.top - v.scroll, fill: v.fill(i) };
        }
        return null;
      },
    };
  }, [props.label]);

  useLayoutEffect(repaint, [t, root, size, flip, dark, marked, fill, rootName, repaint]);

  // A new tree is seen from its root; a new zoom, with its node in the window.
  useLayoutEffect(() => {
    const box = outer.current!;
    box.scrollTop = flip ? box.scrollHeight : 0;
    setHover(null);
    setCursor(-1);
  }, [t, flip, size.height]);
  useLayoutEffect(() => {
    const box = outer.current!, y = rowOf(view.current!, t.depth[root]!);
    if (y < box.scrollTop || y > box.scrollTop + box.clientHeight - ROW) box.scrollTop = y - (flip ? box.clientHeight - 3 * ROW : 2 * ROW);
  }, [root]);

  // What is marked comes into the window, at least the widest of it.
  useLayoutEffect(() => {
    const box = outer.current!, v = view.current!;
    if (!marked) return;
    let best = -1;
    for (let i = root + 1; i < t.end[root]!; i++) if (marked[t.frame[i]!] && (best < 0 || t.weight[i]! > t.weight[best]!)) best = i;
    const y = best < 0 ? -1 : rowOf(v, t.depth[best]!);
    if (y >= 0 && (y < box.scrollTop || y + ROW > box.scrollTop + box.clientHeight)) box.scrollTop = y - box.clientHeight / 2;
  }, [marked]);

  const onScroll = () => {
    view.current!.scroll = outer.current!.scrollTop;
    setHover(null);
    repaint();
  };

  const under = (e: MouseEvent): number => {
    const at = canvas.current!.getBoundingClientRect();
    return nodeAt({ ...view.current!, scroll: outer.current!.scrollTop }, e.clientX - at.left, e.clientY - at.top);
  };

  const move = (node: number) => {
    setCursor(node);
    const box = outer.current!, y = rowOf(view.current!, t.depth[node]!);
    if (y < box.scrollTop) box.scrollTop = y;
    else if (y + ROW > box.scrollTop + box.clientHeight) box.scrollTop = y + ROW - box.clientHeight;
  };

  const onKey = (e: KeyboardEvent) => {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    const at = cursor < 0 || cursor >= t.size ? root : cursor;
    const [deeper, higher] = flip ? ['ArrowUp', 'ArrowDown'] : ['ArrowDown', 'ArrowUp'];
    switch (e.key) {
      case deeper:
        move(cursor < 0 ? at : widestChild(t, at));
        break;
      case higher:
        move(Math.max(0, t.parent[at]!));
        break;
      case 'ArrowRight':
      case 'ArrowLeft':
        move(sibling(t, at, e.key === 'ArrowRight'));
        break;
      case 'Home':
        move(root);
        break;
      case 'Enter':
      case ' ':
        props.onRoot(at);
        break;
      case 'Backspace':
        props.onRoot(Math.max(0, t.parent[root]!));
        break;
      case 'Escape':
        if (root === 0) return;
        props.onRoot(0);
        break;
      case 's':
        if (at > 0) props.onSandwich(at);
        break;
      case 'm':
      case 'ContextMenu': {
        const place = placeOf(view.current!, at), box = canvas.current!.getBoundingClientRect();
        if (at > 0 && place) props.onMenu(at, box.left + place.left + 8, box.top + place.top - outer.current!.scrollTop + ROW);
        break;
      }
      default:
        return;
    }
    e.preventDefault();
    e.stopPropagation();
  };

  useEffect(() => {
    const hide = () => setHover(null);
    addEventListener('blur', hide);
    return () => removeEventListener('blur', hide);
  }, []);

  const mark = (node: number, of: string) => {
    const at = node >= 0 && node < t.size ? placeOf(view.current!, node) : null;
    return at && <div class={of} style={{ left: at.left + 'px', top: at.top + 'px', width: at.width + 'px', height: ROW - 1 + 'px' }} />;
  };
  const spoken = (i: number) =>
    i < 0 || i >= t.size ? '' : `${i ? t.frames.name[t.frame[i]!] : props.rootName}, ${value(t.total[i]!, unit)}, ${share(t.total[i]!, whole)}, self ${value(t.self[i]!, unit)}, depth ${t.depth[i]}`;

  return (
    <div class="flame" ref={outer} onScroll={onScroll} style={{ '--rows': contentHeight(t) + 'px' }}>
      <div class="flame-content" style={{ height: contentHeight(t) + 'px' }}>
        <canvas
          ref={canvas}
          tabIndex={0}
          style={{ width: size.width + 'px', height: size.height + 'px' }}
          role="application"
          aria-roledescription="flame graph"
          aria-label={`${props.label}. Arrow keys move between frames, Enter zooms, Escape shows all, S opens callers and callees, M the menu.`}
          onKeyDown={onKey}
          onMouseMove={(e) => {
            const node = under(e);
            setHover(node < 0 ? null : { node, x: e.clientX, y: e.clientY });
          }}
          onMouseLeave={() => setHover(null)}
          onClick={(e) => {
            const node = under(e);
            if (node < 0) return;
            setCursor(-1);
            props.onRoot(node);
          }}
          onContextMenu={(e) => {
            const node = under(e);
            if (node <= 0) return;
            e.preventDefault();
            setHover(null);
            props.onMenu(node, e.clientX, e.clientY);
          }}
        />
        {mark(hover ? hover.node : -1, 'flame-hover')}
        {mark(cursor, 'flame-cursor')}
      </div>
      <span class="unseen" aria-live="polite">
        {spoken(cursor)}
      </span>
      {hover && hover.node < t.size && (
        <Tip tree={t} node={hover.node} unit={unit} whole={whole} baseWhole={props.baseWhole} zoomed={root > 0 ? t.total[root]! : 0} rootName={props.rootName} x={hover.x} y={hover.y} />
      )}
    </div>
  );
}
