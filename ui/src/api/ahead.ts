// Questions that are asked before anybody wants the answers: the server reads while the page is drawn.
// Two scripts share this: the first asks, and the page takes what it wants.

interface Asked {
  response: Promise<Response>;
  control: AbortController;
}

interface Opening {
  at: number; // when the page was opened: relative ranges end there until it is refreshed
  drawn: boolean; // the page asks itself by now
  asked: Map<string, Asked>; // by address
}

export const opening: Opening = ((globalThis as { coldframeOpening?: Opening }).coldframeOpening ??= { at: Date.now(), drawn: false, asked: new Map() });

/** Asks for an address now; who asks for it next gets this answer. */
export function askAhead(address: string): Promise<Response> {
  const control = new AbortController(), response = fetch(address, { signal: control.signal });
  response.catch(() => undefined); // whoever takes it is told
  opening.asked.set(address, { response, control });
  return response;
}

/** As fetch, but for what was asked ahead. */
export function take(address: string, signal: AbortSignal): Promise<Response> {
  const early = opening.asked.get(address);
  if (!early) return fetch(address, { signal });
  opening.asked.delete(address);
  signal.addEventListener('abort', () => early.control.abort());
  return early.response;
}
