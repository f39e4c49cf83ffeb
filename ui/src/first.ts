// The first script: it is small, so that it runs while the page's own still loads, and asks what
// Explore will ask once it is drawn, in the very same words.

import { address, flamegraphParams, paramsOf, typesParams } from './api/address';
import { askAhead, opening } from './api/ahead';
import type { TypeList } from './api/answers';
import { read } from './state/read';
import { questionsOf, rangeOf } from './views/page';
import { firstType } from './views/types';

const state = read();
if (!state.view && !opening.drawn) {
  const range = rangeOf(state.from, state.to, opening.at);
  const rest = (type: string) => {
    const q = questionsOf(state, range, type);
    if (!q.known) return;
    askAhead(address('flamegraph', flamegraphParams(q.graph, q.graphMore)));
    askAhead(address('series', { ...paramsOf(q.chart), ...q.chartMore }));
  };
  const types = askAhead(address('types', typesParams(range)));
  if (state.type) rest(state.type);
  else {
    types
      .then(async (response) => rest(firstType(((await response.clone().json()) as TypeList).types)))
      .catch(() => undefined); // the page asks for itself, and tells what is wrong
  }
}

// Reading what people prefer takes the browser some milliseconds the first time. Here nobody waits for it.
void localStorage.length;
