/**
 * The feed: a walk over the ranking, page by page. Posts stay once they are shown. Each post is a signal, so
 * that a change of one post draws only that post again.
 */
import { batch, type Signal, signal } from "@preact/signals";
import { read, refusalOf, RefusedError, request, type Schemas } from "./api";
import { readPost, type Post } from "./posts";
import type { Answer, Entry, Work } from "./queue";

export type Sort = Schemas["FeedSort"];

export const sort = signal<Sort>("top");
export const posts = signal<Signal<Post>[]>([]);
export const state = signal<"loading" | "idle" | "end" | "failed">("loading");
/** The reason of `failed`: the code of a refusal, or null if no answer came. */
export const refusal = signal<string | null>(null);

const PAGE = 10;
const STREAM_DELAY_MS = 2_000;

let cursor: string | null = null;
/** The number of the current walk; pages of former walks are not shown. */
let walk = 0;

export function postById(id: string): Signal<Post> | undefined {
  return posts.value.find((post) => post.value.id === id);
}

/** Starts a new walk in this order, from the top. */
export async function startWalk(order: Sort): Promise<void> {
  walk += 1;
  cursor = null;
  batch(() => {
    sort.value = order;
    posts.value = [];
  });
  await load(firstPage());
}

function firstPage(): string {
  return `posts?limit=${PAGE}&sort=${sort.value}`;
}

/** Reads the first page again, so that the service worker caches it. */
export async function cacheFirstPage(): Promise<void> {
  if (navigator.serviceWorker?.controller) await request("GET", firstPage()).catch(() => undefined);
}

export async function loadMore(): Promise<void> {
  if (state.value === "loading" || state.value === "end") return;
  if (cursor === null) return startWalk(sort.value);
  await load(`posts?limit=${PAGE}&sort=${sort.value}&cursor=${encodeURIComponent(cursor)}`);
}

async function load(path: string): Promise<void> {
  const startedWalk = walk;
  state.value = "loading";
  try {
    const page = await read<Schemas["FeedBody"]>(path);
    if (startedWalk === walk) showPage(page);
  } catch (error) {
    if (startedWalk !== walk) return;
    // The service no longer accepts the cursor: start a new walk.
    if (error instanceof RefusedError && error.reply.status === 400) cursor = null;
    refusal.value = refusalOf(error);
    state.value = "failed";
  }
}

function showPage(page: Schemas["FeedBody"]): void {
  const shown = new Set(posts.value.map((post) => post.value.id));
  const added = page.posts.filter((post) => !shown.has(post.id)).map((post) => signal(post));
  cursor = page.next;
  batch(() => {
    posts.value = [...posts.value, ...added];
    state.value = page.next === null ? "end" : "idle";
  });
}

/** Shows the result of an entry that the service has accepted. */
export async function showAnswer(entry: Entry, answer: Answer): Promise<void> {
  const { work } = entry;
  if (answer.is !== "done" && answer.is !== "gone") return;
  if (work.kind === "delete post" || (work.kind === "post" && work.stage === "remove")) removePost(work.post);
  else if (work.post !== null) await refreshPost(work.post);
  await cacheFirstPage();
  // On AWS the feed and its counts change a moment later.
  setTimeout(() => void refreshLater(work), STREAM_DELAY_MS);
}

async function refreshLater(work: Work): Promise<void> {
  if (work.kind === "comment") await refreshPost(work.post);
  await cacheFirstPage();
}

function removePost(id: string | null): void {
  posts.value = posts.value.filter((post) => post.value.id !== id);
}

async function refreshPost(id: string): Promise<void> {
  try {
    showPost(await readPost(id));
  } catch (error) {
    if (error instanceof RefusedError && error.reply.status === 404) removePost(id);
  }
}

/** Replaces the post where it is; a new post comes first. */
function showPost(post: Post): void {
  const shown = postById(post.id);
  if (shown !== undefined) shown.value = post;
  else posts.value = [signal(post), ...posts.value];
}
