/** Which post is open: `#post/ID`, so that it has an address, and Back closes it. */
import { signal } from "@preact/signals";

const HASH = /^#post\/([0-9A-Za-z]{26})$/;

export const openPost = signal<string | null>(null);

export function hrefOf(id: string): string {
  return `#post/${id}`;
}

export function applyHash(): void {
  openPost.value = HASH.exec(location.hash)?.[1] ?? null;
}

/** Without another entry in the browser's history. */
export function openPostInPlace(id: string | null): void {
  history.replaceState(null, "", id === null ? location.pathname + location.search : hrefOf(id));
  applyHash();
}

addEventListener("hashchange", applyHash);
