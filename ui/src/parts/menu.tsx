import type { ComponentChildren } from 'preact';
import { useEffect, useId, useLayoutEffect, useRef, useState } from 'preact/hooks';

export interface Item {
  name: string;
  hint?: string;
  do(): void;
  checked?: boolean;
}

/** A list of actions at a place of the window. It takes the focus, and gives it back. */
export function ActionMenu({ x, y, title, items, onClose }: { x: number; y: number; title: string; items: Item[]; onClose(): void }) {
  const box = useRef<HTMLDivElement>(null), before = useRef(document.activeElement as HTMLElement | null);
  useLayoutEffect(() => {
    const el = box.current!, { width, height } = el.getBoundingClientRect();
    el.style.left = Math.max(4, Math.min(x, innerWidth - width - 4)) + 'px';
    el.style.top = Math.max(4, Math.min(y, innerHeight - height - 4)) + 'px';
    el.querySelector<HTMLElement>('[role^=menuitem]')?.focus();
    const outside = (e: Event) => !el.contains(e.target as Node) && onClose();
    addEventListener('pointerdown', outside, true);
    addEventListener('scroll', outside, true);
    return () => {
      removeEventListener('pointerdown', outside, true);
      removeEventListener('scroll', outside, true);
    };
  }, [x, y]);
  return (
    <div class="popup menu" role="menu" aria-label={title} ref={box} onKeyDown={(e) => menuKeys(e, box.current!, () => (onClose(), before.current?.focus()))}>
      <p class="menu-title code">{title}</p>
      <MenuItems items={items} onDone={() => (onClose(), before.current?.focus())} />
    </div>
  );
}

/** A button that opens a list of actions, or anything else, below itself. */
export function MenuButton({ label, title, items, children, class: of = '' }: { label: ComponentChildren; title: string; items?: Item[]; children?: (close: () => void) => ComponentChildren; class?: string }) {
  const [open, setOpen] = useState(false), id = useId();
  const box = useRef<HTMLDivElement>(null), button = useRef<HTMLButtonElement>(null);
  const close = () => {
    setOpen(false);
    button.current?.focus();
  };
  useEffect(() => {
    if (!open) return;
    const popup = box.current!.querySelector<HTMLElement>('.popup')!;
    const over = popup.getBoundingClientRect().right - innerWidth + 6;
    if (over > 0) popup.style.marginLeft = -over + 'px';
    popup.querySelector<HTMLElement>('[aria-checked=true], [role^=menuitem], input, button')?.focus();
    const outside = (e: Event) => !box.current!.contains(e.target as Node) && setOpen(false);
    addEventListener('pointerdown', outside, true);
    return () => removeEventListener('pointerdown', outside, true);
  }, [open]);
  return (
    <div class={'menu-button ' + of} ref={box} onKeyDown={(e) => open && menuKeys(e, box.current!, close)}>
      <button ref={button} title={title} aria-haspopup={items ? 'menu' : 'dialog'} aria-expanded={open} {...(open && { 'aria-controls': id })} onClick={() => setOpen(!open)}>
        {label}
      </button>
      {open && (
        <div id={id} class={items ? 'popup menu' : 'popup'} role={items ? 'menu' : 'dialog'} aria-label={title}>
          {items ? <MenuItems items={items} onDone={close} /> : children!(close)}
        </div>
      )}
    </div>
  );
}

function MenuItems({ items, onDone }: { items: Item[]; onDone(): void }) {
  return (
    <>
      {items.map((item) => (
        <button
          key={item.name}
          class="plain"
          role={item.checked === undefined ? 'menuitem' : 'menuitemradio'}
          aria-checked={item.checked}
          tabIndex={-1}
          onClick={() => {
            onDone();
            item.do();
          }}
        >
          {item.name}
          {item.hint && <small>{item.hint}</small>}
        </button>
      ))}
    </>
  );
}

function menuKeys(e: KeyboardEvent, box: HTMLElement, close: () => void) {
  if (e.key === 'Escape') close();
  else if (e.key === 'ArrowDown' || e.key === 'ArrowUp') {
    const items = [...box.querySelectorAll<HTMLElement>('[role^=menuitem]')];
    if (!items.length) return;
    const at = items.indexOf(document.activeElement as HTMLElement);
    items[(at + (e.key === 'ArrowDown' ? 1 : -1) + items.length) % items.length]!.focus();
  } else return;
  e.preventDefault();
  e.stopPropagation();
}
