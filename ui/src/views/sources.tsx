import { count, duration, instant, millis } from '../format';
import { List } from '../parts/list';
import type { Page } from './page';
import { Part, useOptional } from './part';

interface Target {
  job: string;
  url: string;
  name?: string;
  state?: string;
  health: string;
  labels?: Record<string, string>;
  last_scrape?: string;
  last_duration_seconds?: number;
  last_error?: string;
}

const HEALTH: Record<string, string> = { up: 'good', down: 'bad', dropped: 'odd', failed: 'bad' };

/** What is scraped, and how that goes. */
export function Targets({ page }: { page: Page }) {
  const answer = useOptional<{ targets: Target[] }>('targets', page);
  return (
    <Part<{ targets: Target[] }>
      title="Targets"
      answer={answer}
      isEmpty={(v) => !v.targets?.length}
      none={<>This process scrapes nothing. Name targets in a parca.yaml: <code>coldframe dev --config-path parca.yaml</code>, or <code>coldframe ingest</code> in production.</>}
    >
      {({ targets }) => (
        <List label="List of targets">
          <thead>
            <tr>
              <th>Job</th>
              <th>Profile</th>
              <th>Target</th>
              <th>Health</th>
              <th>Last scrape</th>
              <th class="number">Took</th>
              <th>Last error</th>
            </tr>
          </thead>
          <tbody>
            {targets.map((t, k) => {
              const health = t.state && t.state !== 'active' ? t.state : t.health;
              return (
                <tr key={k}>
                  <td>{t.job}</td>
                  <td>{t.name}</td>
                  <td class="code wrap" title={Object.entries(t.labels ?? {}).map(([name, v]) => `${name}="${v}"`).join('\n')}>{t.url}</td>
                  <td>
                    <span class={'state ' + (HEALTH[health] ?? '')}>{health}</span>
                  </td>
                  <td>{ago(t.last_scrape, page)}</td>
                  <td class="number">{t.last_duration_seconds !== undefined && millis(1000 * t.last_duration_seconds)}</td>
                  <td class="wrap">{t.last_error}</td>
                </tr>
              );
            })}
          </tbody>
        </List>
      )}
    </Part>
  );
}

interface Agent {
  id: string;
  address: string;
  protocol: string;
  last_push: string;
  last_push_duration_seconds: number;
  last_error?: string;
  pushes: number;
  push_errors: number;
}

/** Who pushes to this process. */
export function Agents({ page }: { page: Page }) {
  const answer = useOptional<{ agents: Agent[] }>('agents', page);
  return (
    <Part<{ agents: Agent[] }>
      title="Agents"
      answer={answer}
      isEmpty={(v) => !v.agents?.length}
      none={
        <>
          Nobody has pushed to this process. Agents that write straight to the bucket are not listed here. To have one push: <code>coldframe agent --remote-store-address {location.host}</code>, or a Pyroscope SDK with the server address {location.origin}.
        </>
      }
    >
      {({ agents }) => (
        <List label="List of agents">
          <thead>
            <tr>
              <th>Agent</th>
              <th>Address</th>
              <th>Protocol</th>
              <th>Last push</th>
              <th class="number">Took</th>
              <th class="number">Pushes</th>
              <th class="number">Refused</th>
              <th>Last error</th>
            </tr>
          </thead>
          <tbody>
            {agents.map((a) => (
              <tr key={a.id + a.protocol}>
                <td>{a.id}</td>
                <td class="code">{a.address}</td>
                <td>{a.protocol}</td>
                <td>{ago(a.last_push, page)}</td>
                <td class="number">{millis(1000 * a.last_push_duration_seconds)}</td>
                <td class="number">{count(a.pushes)}</td>
                <td class="number">{a.push_errors ? <span class="state bad">{count(a.push_errors)}</span> : '0'}</td>
                <td class="wrap">{a.last_error}</td>
              </tr>
            ))}
          </tbody>
        </List>
      )}
    </Part>
  );
}

/** How long before the page's last look something was. */
function ago(t: string | undefined, page: Page) {
  const at = t ? Date.parse(t) : NaN;
  if (Number.isNaN(at) || at <= 0) return <span class="quiet">never</span>;
  return <span title={instant(at, page.utc, true)}>{page.now - at < 1000 ? 'just now' : duration(page.now - at) + ' ago'}</span>;
}
