import type { ComponentChildren } from 'preact';

/** A table in a window of its own, in which it scrolls where it does not fit. */
export function List({ label, class: of = '', children }: { label: string; class?: string; children: ComponentChildren }) {
  return (
    <div class="scroll" role="region" aria-label={label} tabIndex={0}>
      <table class={'list ' + of}>
        <caption class="unseen">{label}</caption>
        {children}
      </table>
    </div>
  );
}
