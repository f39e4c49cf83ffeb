import type { ComponentChildren } from 'preact';
import { go, link, type Patch } from '../state/url';

interface LinkProps {
  to: Patch; // what changes of the page's state
  class?: string;
  title?: string;
  current?: boolean; // it leads to where one is
  children: ComponentChildren;
}

/** A link within the page. Other buttons of the mouse, and keys that open it elsewhere, are the browser's own. */
export function Link({ to, class: of, title, current, children }: LinkProps) {
  const follow = (e: MouseEvent) => {
    if (e.button || e.ctrlKey || e.metaKey || e.shiftKey || e.altKey) return;
    e.preventDefault();
    go(to);
  };
  return (
    <a class={of} title={title} aria-current={current ? 'page' : undefined} href={link(to)} onClick={follow}>
      {children}
    </a>
  );
}
