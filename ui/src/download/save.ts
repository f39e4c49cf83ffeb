/** Hands a file to whoever looks at the page. */
export function save(name: string, content: Blob | string, type = 'application/octet-stream'): void {
  const url = URL.createObjectURL(typeof content === 'string' ? new Blob([content], { type }) : content);
  follow(name, url);
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** Downloads what is at an address of this server. */
export function follow(name: string, url: string): void {
  const a = document.createElement('a');
  a.href = url;
  a.download = name;
  a.click();
}

/** Puts text on the clipboard, also where the page came over plain HTTP, where browsers offer no clipboard. */
export async function copy(text: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.createElement('textarea');
    area.value = text;
    area.className = 'unseen';
    document.body.append(area);
    area.select();
    document.execCommand('copy');
    area.remove();
  }
}
