/**
 * The feed: a walk over the ranking, page by page. Posts that were shown stay; each is a signal, so that a
 * change of one draws that one anew.
 */
import { batch, type Signal, signal } from "@preact/signals";
import { read, refusalOf, RefusedError, request, type Schemas } from "./api";
import { find, type Post } from "./posts";
import type { Answer, Entry, Work } from "./queue";

export type Sort = Schemas["FeedSort"];

export const sort = signal<Sort>("top");
export const posts = signal<Signal<Post>[]>([]);
export const state = signal<"loading" | "idle" | "end" | "failed">("loading");
/** Why it failed: the code of a refusal, or null if no answer came. */
export const refusal = signal<string | null>(null);

const PAGE = 10;
const COUNTED_MS = 2_000;

let cursor: string | null = null;
/** Which walk is the current one: a page of a former one is not shown. */
let walk = 0;

export function byId(id: string): Signal<Post> | undefined {
  return posts.value.find((post) => post.value.id === id);
}

/** From the top, in this order. */
export async function start(order: Sort): Promise<void> {
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

/** Reads the first page again for the service worker, which keeps for later what it sees. */
export async function keepForLater(): Promise<void> {
  if (navigator.serviceWorker?.controller) await request("GET", firstPage()).catch(() => undefined);
}

export async function more(): Promise<void> {
  if (state.value === "loading" || state.value === "end") return;
  if (cursor === null) return start(sort.value);
  await load(`posts?limit=${PAGE}&sort=${sort.value}&cursor=${encodeURIComponent(cursor)}`);
}

async function load(path: string): Promise<void> {
  const own = walk;
  state.value = "loading";
  try {
    const page = await read<Schemas["FeedBody"]>(path);
    if (own === walk) show(page);
  } catch (error) {
    if (own !== walk) return;
    // A cursor that is no longer known: the walk begins anew.
    if (error instanceof RefusedError && error.reply.status === 400) cursor = null;
    refusal.value = refusalOf(error);
    state.value = "failed";
  }
}

function show(page: Schemas["FeedBody"]): void {
  const known = new Set(posts.value.map((post) => post.value.id));
  const fresh = page.posts.filter((post) => !known.has(post.id)).map((post) => signal(post));
  cursor = page.next;
  batch(() => {
    posts.value = [...posts.value, ...fresh];
    state.value = page.next === null ? "end" : "idle";
  });
}

/** What the page shows follows from what the service has taken. */
export async function follow(entry: Entry, answer: Answer): Promise<void> {
  const { work } = entry;
  if (answer.is !== "done" && answer.is !== "gone") return;
  if (work.kind === "delete post" || (work.kind === "post" && work.stage === "remove")) drop(work.post);
  else if (work.post !== null) await refresh(work.post);
  await keepForLater();
  // On AWS the feed follows a moment later.
  setTimeout(() => void settle(work), COUNTED_MS);
}

async function settle(work: Work): Promise<void> {
  if (work.kind === "comment") await refresh(work.post);
  await keepForLater();
}

function drop(id: string | null): void {
  posts.value = posts.value.filter((post) => post.value.id !== id);
}

async function refresh(id: string): Promise<void> {
  try {
    place(await find(id));
  } catch (error) {
    if (error instanceof RefusedError && error.reply.status === 404) drop(id);
  }
}

/** Anew where it stands; a new one before all others. */
function place(post: Post): void {
  const known = byId(post.id);
  if (known !== undefined) known.value = post;
  else posts.value = [signal(post), ...posts.value];
}
