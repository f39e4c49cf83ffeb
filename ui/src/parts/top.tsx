import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
import { change, share, value } from '../format';
import { probe } from '../probe';
import { changeOf } from '../tree/compare';
import { expression } from '../tree/reshape';
import { functions, type Function } from '../tree/top';
import { Kind, type Tree } from '../tree/tree';
import { KIND_NAMES, points } from '../flame/tip';

export type Sort = 'self' | 'total' | 'name' | 'change';

interface TopProps {
  tree: Tree;
  unit: string;
  search: string;
  sort: Sort;
  onSort(s: Sort): void;
  chosen: string; // a function's name
  onChoose(name: string): void;
  onOpen(name: string): void;
  whole: number;
  relative?: boolean;
}

const ROW = 22;

/** The functions of a tree. Only the rows in the window are in the page, however many there are. */
export function Top({ tree, unit, search, sort, onSort, chosen, onChoose, onOpen, whole, relative = true }: TopProps) {
  const body = useRef<HTMLDivElement>(null), head = useRef<HTMLDivElement>(null);
  const [seen, setSeen] = useState({ top: 0, height: 400 });
  const all = useMemo(() => functions(tree), [tree]);
  const baseWhole = tree.base?.total[0] ?? 0;
  const changed = (f: Function) => (relative ? f.total / (whole || 1) - f.baseTotal / (baseWhole || 1) : f.total - f.baseTotal);
  const changedSelf = (f: Function) => (relative ? f.self / (whole || 1) - f.baseSelf / (baseWhole || 1) : f.self - f.baseSelf);

  const rows = useMemo(() => {
    const want = search ? expression(search) : null;
    const list = want ? all.filter((f) => want.test(tree.frames.name[f.frame]!)) : all.slice();
    const name = (f: Function) => tree.frames.name[f.frame]!;
    const by: Record<Sort, (a: Function, b: Function) => number> = {
      self: (a, b) => b.self - a.self || b.total - a.total,
      total: (a, b) => b.total - a.total || b.self - a.self,
      name: (a, b) => (name(a) < name(b) ? -1 : 1),
      change: (a, b) => Math.abs(changedSelf(b)) - Math.abs(changedSelf(a)) || Math.abs(changed(b)) - Math.abs(changed(a)),
    };
    return list.sort(by[sort]);
  }, [all, search, sort, relative]);
  probe.top = { rows: rows.length, first: rows[0] && tree.frames.name[rows[0].frame] };

  useLayoutEffect(() => {
    const el = body.current!;
    const measure = () => setSeen({ top: el.scrollTop, height: el.clientHeight });
    const watch = new ResizeObserver(measure);
    watch.observe(el);
    return () => watch.disconnect();
  }, []);
  useEffect(() => {
    body.current!.scrollTop = 0;
  }, [sort, search]);

  const at = rows.findIndex((f) => tree.frames.name[f.frame] === chosen);
  useEffect(() => {
    const el = body.current!;
    if (at >= 0 && (at * ROW < el.scrollTop || (at + 1) * ROW > el.scrollTop + el.clientHeight)) el.scrollTop = at * ROW - el.clientHeight / 2;
  }, [chosen]);

  const onKey = (e: KeyboardEvent) => {
    const page = Math.max(1, Math.floor(seen.height / ROW) - 1);
    const steps: Record<string, number> = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -rows.length, End: rows.length };
    if (e.key === 'Enter' && chosen) onOpen(chosen);
    else if (e.key === 'Escape' && chosen) onChoose('');
    else if (steps[e.key] && rows.length) {
      const next = rows[Math.max(0, Math.min(rows.length - 1, at + steps[e.key]!))]!;
      onChoose(tree.frames.name[next.frame]!);
    } else return;
    e.preventDefault();
    e.stopPropagation();
  };

  const first = Math.max(0, Math.floor(seen.top / ROW) - 4), shown = rows.slice(first, first + Math.ceil(seen.height / ROW) + 9);
  const header = (key: Sort, text: string, title: string) => (
    <span role="columnheader" aria-sort={sort === key ? (key === 'name' ? 'ascending' : 'descending') : 'none'} class={'top-' + key}>
      <button class="plain" title={title} onClick={() => onSort(key)}>
        {text}
        {sort === key && <span aria-hidden="true">{key === 'name' ? ' ▴' : ' ▾'}</span>}
      </button>
    </span>
  );
  const largest = useMemo(() => all.reduce((max, f) => ({ self: Math.max(max.self, f.self), total: Math.max(max.total, f.total) }), { self: 0, total: 0 }), [all]);
  const bar = (v: number, of: number) => <i style={{ width: Math.min(100, (100 * Math.abs(v)) / (of || 1)) + '%' }} />;

  return (
    <div class={tree.base ? 'top top-compared' : 'top'} role="table" aria-label="Functions" aria-rowcount={rows.length + 1}>
      <div role="rowgroup" ref={head}>
        <div role="row" class="top-row top-head" aria-rowindex={1}>
          {header('name', 'Function', 'Sort by name')}
          {header('self', 'Self', 'Spent in the function itself')}
          {header('total', 'Total', 'Spent in the function and all it calls')}
          {tree.base && header('change', 'Change of self', 'Sort by how much changed')}
        </div>
      </div>
      <div class="top-body" role="rowgroup" tabIndex={0} aria-label="Functions: arrow keys choose, Enter opens callers and callees" ref={body} onKeyDown={onKey} onScroll={(e) => setSeen({ top: e.currentTarget.scrollTop, height: e.currentTarget.clientHeight })}>
        <div role="presentation" class="top-space" style={{ height: rows.length * ROW + 'px' }}>
          {shown.map((f, k) => {
            const name = tree.frames.name[f.frame]!, kind = tree.frames.kind[f.frame]!, c = changedSelf(f);
            return (
              <div role="row" key={f.frame} class={name === chosen ? 'top-row chosen' : 'top-row'} aria-rowindex={first + k + 2} style={{ top: (first + k) * ROW + 'px' }} onClick={() => onChoose(name === chosen ? '' : name)} onDblClick={() => onOpen(name)}>
                <span role="cell" class="top-name" title={name}>
                  {kind !== Kind.User && <span class={'dot kind-' + kind} title={KIND_NAMES[kind]} />}
                  <bdi>{name}</bdi>
                </span>
                <span role="cell" class="top-self">
                  {bar(f.self, largest.self)}
                  {value(f.self, unit)} <small>{share(f.self, whole)}</small>
                </span>
                <span role="cell" class="top-total">
                  {bar(f.total, largest.total)}
                  {value(f.total, unit)} <small>{share(f.total, whole)}</small>
                </span>
                {tree.base && (
                  <span role="cell" class={'top-change ' + (c > 0 ? 'more' : c < 0 ? 'less' : '')} title={`of total: ${relative ? points(changed(f)) : change(changed(f), unit)}`}>
                    <i style={{ width: 50 * Math.abs(changeOf(f.baseSelf, f.self, baseWhole, whole, relative)) + '%' }} />
                    {relative ? points(c) : change(c, unit)}
                  </span>
                )}
              </div>
            );
          })}
        </div>
        {rows.length === 0 && <p class="quiet top-none">No function {search ? 'matches the search' : 'was seen'}.</p>}
      </div>
    </div>
  );
}
