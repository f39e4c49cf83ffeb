import { List } from '../parts/list';
import type { Page } from './page';
import { Part, useOptional } from './part';

interface Member {
  name: string;
  url?: string; // for those who may see the process
  zone?: string;
  version: number | string;
  self?: boolean;
  refused?: string;
}

/** Who answers queries together with this process. */
export function Cluster({ page }: { page: Page }) {
  const answer = useOptional<{ members: Member[] }>('cluster', page);
  return (
    <Part<{ members: Member[] }>
      title="Cluster members"
      answer={answer}
      isEmpty={(v) => (v.members ?? []).every((m) => m.self)}
      none={<>This process answers queries alone. Several share large ones: <code>coldframe query --cluster-join HOST:PORT</code>.</>}
    >
      {({ members }) => (
        <List label="List of members">
          <thead>
            <tr>
              <th>Name</th>
              <th>URL</th>
              <th>Zone</th>
              <th class="number">Version</th>
              <th>State</th>
            </tr>
          </thead>
          <tbody>
            {members.map((m) => (
              <tr key={m.name}>
                <td>
                  {m.name} {m.self && <span class="quiet">(this one)</span>}
                </td>
                <td class="code">{m.url}</td>
                <td>{m.zone}</td>
                <td class="number">{m.version}</td>
                <td>{m.refused ? <span class="state bad">{m.refused}</span> : <span class="state good">in</span>}</td>
              </tr>
            ))}
          </tbody>
        </List>
      )}
    </Part>
  );
}
