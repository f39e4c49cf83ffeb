import type { ComponentChildren } from 'preact';
import { useEffect, useMemo, useState } from 'preact/hooks';
import { change, share, value } from '../format';
import { Flame } from '../flame/flame';
import { changeColors, changeStep, colorOf } from '../flame/palette';
import { copy } from '../download/save';
import { ActionMenu, MenuButton, type Item } from '../parts/menu';
import { Switch } from '../parts/range';
import { Top, type Sort } from '../parts/top';
import { filterOf, fromURL, toURL, type Filter } from '../state/filters';
import { go } from '../state/url';
import { search } from '../tree/find';
import { colorKey, shortName, type ColorBy } from '../tree/names';
import { collapsed, inverted, sandwich } from '../tree/reshape';
import { isTimed } from '../tree/steps';
import { functions, selfBy } from '../tree/top';
import { follow, framesNamed, Kind, pathOf, type Tree } from '../tree/tree';
import { FilterBar } from './filterbar';
import type { Page } from './page';

/** How a tree is turned before it is shown, by the URL. */
export function useShaped(tree: Tree | null, page: Page): { folded: Tree | null; shaped: Tree | null } {
  const { fold, inv } = page.state;
  const folded = useMemo(() => tree && (fold ? collapsed(tree) : tree), [tree, fold]);
  const shaped = useMemo(() => folded && (inv && !isTimed(folded) ? inverted(folded) : folded), [folded, inv]);
  return { folded, shaped };
}

export const colorByOf = (page: Page): ColorBy => (page.state.color as ColorBy) || 'package';

const COLORS: [ColorBy, string][] = [['package', 'Package'], ['function', 'Function'], ['file', 'File'], ['binary', 'Binary']];

interface ToolbarProps {
  page: Page;
  tree: Tree | null; // that is searched
  timed?: boolean; // it can be shown over time
  groupLabels?: string[]; // by which the graph can be grouped; none hides the choice
  compared?: boolean;
  children?: ComponentChildren; // more, at the right end
}

/** What is searched, how it is turned and coloured. */
export function Toolbar({ page, tree, timed, groupLabels, compared, children }: ToolbarProps) {
  const { state } = page, pattern = state.q ?? '';
  const found = useMemo(() => tree && search(tree, pattern), [tree, pattern]);
  const toggle = (key: string, name: string, title: string, shortcut: string) => (
    <button aria-pressed={!!state[key]} title={`${title} (${shortcut})`} onClick={() => go({ [key]: state[key] ? undefined : '1' })}>
      {name}
    </button>
  );
  return (
    <div class="toolbar">
      <div class="search">
        <input type="search" id="search" aria-label="Search functions" placeholder="Search functions  /" value={pattern} onInput={(e) => go({ q: e.currentTarget.value }, 'replace')} onKeyDown={(e) => e.key === 'Escape' && (go({ q: undefined }, 'replace'), e.currentTarget.blur())} />
        <output class="search-found" aria-live="polite">
          {found && tree && `${share(found.sum, tree.total[0]!)} matched`}
        </output>
      </div>
      <Switch label="Show" value={state.show || 'both'} options={[['table', 'Table'], ['both', 'Both'], ['graph', 'Graph'], ...(timed ? [['time', 'Flame chart'] as [string, string]] : [])]} onChange={(v) => go({ show: v === 'both' ? undefined : v, ...((v === 'time') !== (state.show === 'time') && { zoom: undefined, sandwich: undefined }) })} />
      <span class="buttons" role="group" aria-label="Shape">
        {state.show !== 'time' && toggle('flip', 'Flame', 'Callers at the bottom, as a flame, instead of at the top, as icicles', 'F')}
        {state.show !== 'time' && toggle('inv', 'Invert', 'From the functions that spend it up to their callers', 'I')}
        {toggle('fold', 'Fold', 'Functions that call themselves as one frame', 'C')}
      </span>
      {!compared && (
        <MenuButton
          label={<>Colour: {colorByOf(page)} <span aria-hidden="true">▾</span></>}
          title="What colours mean"
          items={COLORS.map(([by, name]) => ({ name, checked: colorByOf(page) === by, do: () => go({ color: by === 'package' ? undefined : by }) }))}
        />
      )}
      {groupLabels && state.show !== 'time' && (
        <MenuButton
          label={<>Group: {state.group || 'none'} <span aria-hidden="true">▾</span></>}
          title="First rows of the graph: values of a label"
          items={[{ name: 'none', checked: !state.group, do: () => go({ group: undefined, zoom: undefined }) }, ...groupLabels.map((name) => ({ name, checked: state.group === name, do: () => go({ group: name, zoom: undefined }) }))]}
        />
      )}
      <FilterBar page={page} />
      {children && <span class="toolbar-end">{children}</span>}
    </div>
  );
}

interface StacksProps {
  page: Page;
  folded: Tree; // not turned, for the sandwich and the table
  shaped: Tree; // as it is drawn
  unit: string;
  relative?: boolean;
}

/** A call tree with its table: what is chosen in one is shown in the other. */
export function Stacks({ page, folded, shaped, unit, relative = true }: StacksProps) {
  const { state, dark } = page, show = state.show || 'both', chosen = state.fn ?? '';
  const settled = useSettled();
  const [menu, setMenu] = useState<{ tree: Tree; node: number; x: number; y: number } | null>(null);
  const by = colorByOf(page), whole = folded.total[0]!, baseWhole = folded.base?.total[0];
  const sort = (state.sort as Sort) || (folded.base ? 'change' : 'self');

  const marked = useMemo(() => {
    const found = search(shaped, state.q ?? '');
    return chosen ? framesNamed(shaped, chosen) ?? found?.frames ?? null : found?.frames ?? null;
  }, [shaped, state.q, chosen]);
  const root = useMemo(() => follow(shaped, state.zoom ?? ''), [shaped, state.zoom]);
  const cut = useMemo(() => {
    const mask = state.sandwich ? framesNamed(folded, state.sandwich) : null;
    return mask && sandwich(folded, mask);
  }, [folded, state.sandwich]);

  const nameOf = (t: Tree, node: number) => t.frames.name[t.frame[node]!]!;
  const open = (name: string) => go({ sandwich: name, fn: undefined, zoom: undefined });
  const flame = { unit, by, dark, marked, relative, whole, ...(baseWhole !== undefined && { baseWhole }) };
  const onMenu = (tree: Tree) => (node: number, x: number, y: number) => setMenu({ tree, node, x, y });
  const zoomTo = (node: number) => go({ zoom: pathOf(shaped, node) });

  return (
    <div class={`stacks show-${show}${folded.base ? ' compared' : ''}${settled ? '' : ' unsettled'}`}>
      {show !== 'graph' && !settled && show !== 'table' && <div class="top" />}
      {show !== 'graph' && (settled || show === 'table') && <Top tree={folded} unit={unit} search={state.q ?? ''} sort={sort} onSort={(s) => go({ sort: s })} chosen={chosen} onChoose={(name) => go({ fn: name }, 'replace')} onOpen={open} whole={whole} relative={relative} />}
      {show !== 'table' && (
        <div class="graph">
          {chosen && !state.sandwich && <Chosen page={page} tree={folded} name={chosen} unit={unit} onOpen={open} />}
          {state.sandwich ? (
            <div class="sandwich">
              <p class="chosen">
                <b class="code">{state.sandwich}</b>
                <span>{cut ? `${value(cut.callees.total[0]!, unit)} · ${share(cut.callees.total[0]!, whole)}` : 'is not on any stack here'}</span>
                <button onClick={() => go({ sandwich: undefined })}>Back to the graph</button>
              </p>
              {cut && (
                <>
                  <h3>Callers</h3>
                  <Flame {...flame} tree={cut.callers} label={'Callers of ' + state.sandwich} rootName={shortName(state.sandwich)} root={0} onRoot={(n) => n > 0 && open(nameOf(cut.callers, n))} flip={true} onMenu={onMenu(cut.callers)} onSandwich={(n) => open(nameOf(cut.callers, n))} />
                  <h3>Callees</h3>
                  <Flame {...flame} tree={cut.callees} label={'Callees of ' + state.sandwich} rootName={shortName(state.sandwich)} root={0} onRoot={(n) => n > 0 && open(nameOf(cut.callees, n))} flip={false} onMenu={onMenu(cut.callees)} onSandwich={(n) => open(nameOf(cut.callees, n))} />
                </>
              )}
            </div>
          ) : (
            <Flame {...flame} tree={shaped} label="Flame graph" rootName="all" root={root} onRoot={zoomTo} flip={!!state.flip} onMenu={onMenu(shaped)} onSandwich={(n) => open(nameOf(shaped, n))} />
          )}
          <div class="graph-below">
            {root > 0 && !state.sandwich && (
              <button onClick={() => go({ zoom: undefined })} title="Show the whole graph (Escape)">
                ⤢ Reset zoom
              </button>
            )}
            {folded.base ? <ChangeLegend dark={dark} /> : settled && <Legend tree={folded} by={by} dark={dark} />}
          </div>
        </div>
      )}
      {menu && <ActionMenu x={menu.x} y={menu.y} title={shortName(nameOf(menu.tree, menu.node))} onClose={() => setMenu(null)} items={actions(page, menu.tree, menu.node, menu.tree === shaped ? () => zoomTo(menu.node) : null, open)} />}
    </div>
  );
}

/** False until the first frame is painted: the graph does not wait for what stands around it. */
function useSettled(): boolean {
  const [settled, set] = useState(false);
  useEffect(() => {
    const frame = requestAnimationFrame(() => set(true));
    return () => cancelAnimationFrame(frame);
  }, []);
  return settled;
}

/** What can be done with a frame. */
export function actions(page: Page, t: Tree, node: number, zoom: (() => void) | null, open: (name: string) => void): Item[] {
  const f = t.frame[node]!, name = t.frames.name[f]!, binary = t.frames.binary[f]!;
  const add = (filter: Filter) => () => go({ ...toURL([...fromURL(page.state), filter]), zoom: undefined });
  if (t.frames.kind[f] === Kind.Label) return zoom ? [{ name: 'Zoom', do: zoom }] : [];
  return [
    ...(zoom ? [{ name: 'Zoom', hint: 'Enter', do: zoom }] : []),
    { name: 'Callers and callees', hint: 'S', do: () => open(name) },
    { name: 'Show in the table', do: () => go({ fn: name, show: page.state.show === 'graph' || page.state.show === 'time' ? undefined : page.state.show }) },
    { name: 'Keep only stacks with it', do: add(filterOf('keep', 'function', '=', name)) },
    { name: 'Drop stacks with it', do: add(filterOf('drop', 'function', '=', name)) },
    { name: 'Hide its frames', do: add(filterOf('hide', 'function', '=', name)) },
    ...(binary ? [{ name: `Keep only stacks through ${binary}`, do: add(filterOf('keep', 'binary', '=', binary)) }, { name: `Hide frames of ${binary}`, do: add(filterOf('hide', 'binary', '=', binary)) }] : []),
    { name: 'Copy the name', do: () => void copy(name).then(() => page.say('Name copied')) },
  ];
}

/** The function that is chosen, and what to do with it. */
function Chosen({ page, tree, name, unit, onOpen }: { page: Page; tree: Tree; name: string; unit: string; onOpen(name: string): void }) {
  const f = useMemo(() => functions(tree).find((f) => tree.frames.name[f.frame] === name), [tree, name]);
  const add = (what: Filter['what']) => go({ ...toURL([...fromURL(page.state), filterOf(what, 'function', '=', name)]), fn: undefined, zoom: undefined });
  const whole = tree.total[0]!;
  return (
    <p class="chosen">
      <b class="code" title={name}>{shortName(name)}</b>
      {f ? (
        <span>
          self {value(f.self, unit)} · {share(f.self, whole)}, total {value(f.total, unit)} · {share(f.total, whole)}
          {tree.base && `, before ${value(f.baseTotal, unit)} (${change(f.total - f.baseTotal, unit)})`}
        </span>
      ) : (
        <span>is not on any stack here</span>
      )}
      <span class="buttons">
        <button onClick={() => onOpen(name)}>Callers and callees</button>
        <button onClick={() => add('keep')} title="Keep only stacks with it">Keep</button>
        <button onClick={() => add('drop')} title="Drop stacks with it">Drop</button>
        <button onClick={() => add('hide')} title="Hide its frames">Hide</button>
        <button onClick={() => go({ fn: undefined }, 'replace')} aria-label="Choose nothing">✕</button>
      </span>
    </p>
  );
}

/** The largest keys of the colours with what is spent in them. */
export function Legend({ tree, by, dark }: { tree: Tree; by: ColorBy; dark: boolean }) {
  const keys = useMemo(() => selfBy(tree, (f) => colorKey(tree.frames, by, f)), [tree, by]);
  const whole = tree.total[0]!;
  return (
    <ul class="legend" aria-label={`Self by ${by}`}>
      {keys.slice(0, 8).map(({ key, self }) => (
        <li key={key} title={`${key}: self ${share(self, whole)}`}>
          <i class={key === 'no symbols' ? 'striped' : ''} style={{ background: colorOf(key, dark) }} />
          {shortName(key)} <small>{share(self, whole)}</small>
        </li>
      ))}
    </ul>
  );
}

function ChangeLegend({ dark }: { dark: boolean }) {
  const colors = changeColors(dark);
  return (
    <p class="change-legend">
      gone
      {[-1, -0.6, -0.3, -0.1, 0, 0.1, 0.3, 0.6, 1].map((c) => (
        <i key={c} style={{ background: colors[changeStep(c)] }} />
      ))}
      new
    </p>
  );
}
