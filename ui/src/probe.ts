// What the page tells of itself to its tests, as window.coldframe: what a canvas shows cannot be read from the DOM.

export const probe: Record<string, unknown> = {};

(globalThis as { coldframe?: unknown }).coldframe = probe;
