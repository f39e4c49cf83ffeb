import { useEffect } from 'preact/hooks';
import { Blocks } from './blocks';
import { Cluster } from './members';
import { MissingSymbols } from './missing';
import type { Page } from './page';
import { Agents, Targets } from './sources';

/** What this server has, and what brings it in. */
export function Operate({ page }: { page: Page }) {
  useEffect(() => {
    document.title = 'operate · coldframe';
  }, []);
  return (
    <main class="operate" tabIndex={0} aria-label="Operate">
      <Blocks page={page} />
      <Targets page={page} />
      <Agents page={page} />
      <Cluster page={page} />
      <MissingSymbols page={page} />
    </main>
  );
}
