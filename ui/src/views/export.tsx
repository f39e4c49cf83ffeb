import { coldframeGet, goToolPprof, pprofURL, type Asked } from '../download/commands';
import { png, svg, type Picture } from '../download/picture';
import { copy, follow as download, save } from '../download/save';
import { speedscope } from '../download/speedscope';
import { address, paramsOf, type Selection } from '../api/address';
import { value } from '../format';
import { MenuButton, type Item } from '../parts/menu';
import { search } from '../tree/find';
import { follow, type Tree } from '../tree/tree';
import { link } from '../state/url';
import type { Page } from './page';
import { colorByOf } from './stacks';
import { shortType } from './types';

interface ExportProps {
  page: Page;
  asked: Asked;
  tree: Tree | null;
  unit: string;
  type: string;
}

/** A link, files and commands for what is on the screen. */
export function ExportMenu({ page, asked, tree, unit, type }: ExportProps) {
  const { selection, filters, group } = asked;
  const stem = `${shortType(type).replace('/', '-') || 'profile'}-${new Date(selection.to).toISOString().slice(0, 19).replace(/[-:]/g, '')}`;
  const copied = (what: string, text: string) => () => void copy(text).then(() => page.say(what + ' copied'));
  const picture = (t: Tree): Picture => ({
    tree: t, unit, root: follow(t, page.state.zoom ?? ''), by: colorByOf(page), flip: !!page.state.flip, dark: page.dark,
    marked: search(t, page.state.q ?? '')?.frames ?? null,
    title: `${shortType(type)} ${selection.query}  ${new Date(selection.from).toISOString().slice(0, 19)}Z – ${new Date(selection.to).toISOString().slice(0, 19)}Z  ${value(t.total[0]!, unit)}`,
  });
  const items: Item[] = [
    { name: 'Copy a link to this view', do: copied('Link', fixedLink(page, selection)) },
    { name: 'Copy the go tool pprof command', do: copied('Command', goToolPprof(asked)) },
    { name: 'Copy the coldframe get command', do: copied('Command', coldframeGet(asked)) },
    { name: 'Download pprof', hint: '.pb.gz', do: () => download(stem + '.pb.gz', pprofURL(selection, filters)) },
    { name: 'Download folded stacks', hint: '.txt', do: () => download(stem + '.folded.txt', address('flamegraph', { ...paramsOf(selection), ...filters, group_by: group, format: 'folded' })) },
  ];
  if (tree) {
    items.push(
      { name: 'Download for speedscope', hint: '.json', do: () => (save(stem + '.speedscope.json', speedscope(tree, stem, unit), 'application/json'), page.say('Drop the file on speedscope to open it')) },
      { name: 'Download a picture', hint: '.svg', do: () => save(stem + '.svg', svg(picture(tree)), 'image/svg+xml') },
      { name: 'Download a picture', hint: '.png', do: () => void png(picture(tree)).then((blob) => save(stem + '.png', blob)) },
    );
  }
  return <MenuButton label={<>Share <span aria-hidden="true">▾</span></>} title="Share and download" items={items} />;
}

/** A link that shows the same tomorrow: relative ranges are made absolute. */
function fixedLink(page: Page, s: Selection): string {
  const range = page.state.a ? {} : { from: Math.round(s.from), to: Math.round(s.to) };
  return new URL(link({ ...range, type: s.type || undefined }), location.href).href;
}
