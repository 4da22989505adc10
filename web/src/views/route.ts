/** The open post, as `#post/ID` in the address, so that a post has a link and Back closes it. */
import { signal } from "@preact/signals";

const HASH = /^#post\/([0-9A-Za-z]{26})$/;

export const openPost = signal<string | null>(null);

export function hrefOf(id: string): string {
  return `#post/${id}`;
}

export function applyHash(): void {
  openPost.value = HASH.exec(location.hash)?.[1] ?? null;
}

/** Opens a post without another entry in the browser's history. */
export function openPostInPlace(id: string | null): void {
  history.replaceState(null, "", id === null ? location.pathname + location.search : hrefOf(id));
  applyHash();
}

addEventListener("hashchange", applyHash);
