export type State = Readonly<Record<string, string>>;

/** The state as the address has it. */
export function read(): State {
  return Object.fromEntries(new URLSearchParams(location.search));
}
