/**
 * The feed: a walk over the ranking, page by page. Posts stay once they are shown. Each post is a signal, so
 * that a change of one post draws only that post again. A signed-in user has a feed of their own (`/me/feed`);
 * while that cannot be read, the public one is shown.
 */
import { batch, effect, type Signal, signal } from "@preact/signals";
import * as blocks from "./blocks";
import { read, refusalOf, RefusedError, request, type Schemas, UnreachableError } from "./api";
import * as me from "./me";
import { readPost, type Post } from "./posts";
import type { Answer, Entry } from "./queue";
import { loadWithheld, withheldPosts } from "./withheld";
import type { Work } from "./works";

export type Sort = Schemas["FeedSort"];
type Page = Schemas["FeedBody"];
type Source = "posts" | "me/feed";

export const sort = signal<Sort>("top");
export const posts = signal<Signal<Post>[]>([]);
export const state = signal<"loading" | "idle" | "end" | "failed">("loading");
/** The reason of `failed`: the code of a refusal, or null if no answer came. */
export const refusal = signal<string | null>(null);

const PAGE = 10;
const STREAM_DELAY_MS = 2_000;
const WITHHELD_AGE_MS = 60_000;

let cursor: string | null = null;
/** The list of the current walk, to which `cursor` belongs. */
let source: Source = "posts";
/** The number of the current walk; pages of former walks are not shown. */
let walk = 0;
/** Posts of the user that came after the current walk began; its first page may not have them. */
let added: string[] = [];

export function postById(id: string): Signal<Post> | undefined {
  return posts.value.find((post) => post.value.id === id);
}

/** Starts a new walk in this order, from the top. */
export async function startWalk(order: Sort): Promise<void> {
  batch(() => {
    sort.value = order;
    posts.value = [];
  });
  await restartWalk();
}

/** Starts a new walk; the posts of the former one stay until its first page is there. `publicPage`: a response that
 * is on its way already. */
export async function restartWalk(publicPage?: Promise<Page>): Promise<void> {
  walk += 1;
  cursor = null;
  added = [];
  await load(() => readFirstPage(publicPage));
}

function pathOf(list: Source): string {
  return `${list}?limit=${PAGE}&sort=${sort.value}`;
}

/** The first page of the public feed, as `index.html` preloads it; the service worker caches it. */
export function readPublicPage(): Promise<Page> {
  const page = read<Page>(pathOf("posts"));
  page.catch(() => undefined);
  return page;
}

async function readFirstPage(publicPage?: Promise<Page>): Promise<[Source, Page]> {
  const user = me.sendingUser.peek();
  if (user === null) return ["posts", await (publicPage ?? readPublicPage())];
  const { identity } = user;
  try {
    const own = read<Page>(pathOf("me/feed"), { identity });
    // With the feed, so that they do not push it down later.
    const [page] = await Promise.all([own, loadWithheld(user.user, identity), blocks.loadBlocks(user.user, identity)]);
    return ["me/feed", page];
  } catch (error) {
    if (error instanceof RefusedError && error.reply.status === 401) await me.rejectCredential(identity);
    else if (!(error instanceof UnreachableError)) throw error;
    return ["posts", await (publicPage ?? readPublicPage())];
  }
}

/** Reads the first page again, so that the service worker caches it. */
export async function cacheFirstPage(): Promise<void> {
  if (navigator.serviceWorker?.controller) await request("GET", pathOf("posts")).catch(() => undefined);
}

export async function loadMore(): Promise<void> {
  if (state.value === "loading" || state.value === "end") return;
  if (cursor === null) return restartWalk();
  const path = `${pathOf(source)}&cursor=${encodeURIComponent(cursor)}`;
  const identity = source === "me/feed" ? (me.sendingUser.peek()?.identity ?? null) : null;
  await load(async () => [source, await read<Page>(path, { identity })]);
}

async function load(readPage: () => Promise<[Source, Page]>): Promise<void> {
  const startedWalk = walk;
  state.value = "loading";
  try {
    const [list, page] = await readPage();
    if (startedWalk === walk) showPage(list, page);
  } catch (error) {
    if (startedWalk !== walk) return;
    // The service no longer accepts the cursor, or the token has expired: start a new walk.
    if (error instanceof RefusedError && [400, 401].includes(error.reply.status)) cursor = null;
    refusal.value = refusalOf(error);
    state.value = "failed";
  }
}

function showPage(list: Source, page: Page): void {
  const isFirst = cursor === null;
  const shown = isFirst ? posts.value.filter((post) => added.includes(post.value.id)) : posts.value;
  const ids = new Set(shown.map((post) => post.value.id));
  const following = page.posts.filter((post) => !ids.has(post.id)).map(signalOf);
  batch(() => {
    source = list;
    cursor = page.next;
    posts.value = [...shown, ...following];
    state.value = page.next === null ? "end" : "idle";
  });
}

/** The signal of a post that is shown already, so that only its change is drawn. */
function signalOf(post: Post): Signal<Post> {
  const shown = postById(post.id);
  if (shown === undefined) return signal(post);
  shown.value = post;
  return shown;
}

/**
 * Starts a new walk when another user signs in, and when the user signs out. Also when the user can be identified
 * again, unless that would take posts away that are shown.
 */
export function followUser(): void {
  let user = me.session.peek()?.user;
  let wasSending = me.sendingUser.peek() !== null;
  effect(() => {
    const current = me.session.value?.user;
    const isSending = me.sendingUser.value !== null;
    const isOther = current !== user;
    const isBack = isSending && !wasSending;
    [user, wasSending] = [current, isSending];
    if (isOther) void restartWalk();
    else if (isBack) void leavePublicFeed();
  });
}

/** Replaces the public feed by the user's own, while only its first page is shown. */
export async function leavePublicFeed(): Promise<void> {
  if (me.sendingUser.peek() !== null && source === "posts" && posts.peek().length <= PAGE) await restartWalk();
}

/** Shows the result of an entry that the service has accepted. */
export async function showAnswer({ work, owner }: Entry, answer: Answer): Promise<void> {
  if (answer.is !== "done" && answer.is !== "gone") return;
  await blocks.applyDone(work, owner);
  if (work.kind === "unblock") return restartWalk();
  if (work.kind === "appeal") return reloadWithheld();
  if (!isOfFeed(work)) return;
  if (work.kind === "delete post" || (work.kind === "post" && work.stage === "remove")) removePost(work.post);
  else if (work.post !== null) await refreshPost(work.post);
  if (work.kind === "post" || work.kind === "delete post") await reloadWithheld();
  await cacheFirstPage();
  // On AWS the feed and its counts change a moment later.
  setTimeout(() => void refreshLater(work), STREAM_DELAY_MS);
}

/** Work that changes a post of the feed. */
type FeedWork = Exclude<Work, { kind: "report" | "block" | "unblock" | "appeal" | "decision" }>;

function isOfFeed(work: Work): work is FeedWork {
  return !["report", "block", "unblock", "appeal", "decision"].includes(work.kind);
}

/** Reads the user's own posts that are not public; those that have become public come into the feed. */
export async function reloadWithheld(): Promise<void> {
  const user = me.sendingUser.peek();
  if (user === null) return;
  const before = withheldPosts.peek();
  await loadWithheld(user.user, user.identity);
  // Another user may have signed in during the request.
  if (me.sendingUser.peek()?.user !== user.user) return;
  const ids = new Set(withheldPosts.peek().map(({ id }) => id));
  await Promise.all(before.filter(({ id }) => !ids.has(id)).map(({ id }) => refreshPost(id)));
}

/** Reads them again, at most once a minute, when the page comes into view. Decisions are made meanwhile. */
export function watchWithheld(): void {
  let loadedAt = performance.now();
  addEventListener("visibilitychange", () => {
    if (document.hidden || performance.now() - loadedAt < WITHHELD_AGE_MS) return;
    loadedAt = performance.now();
    void reloadWithheld();
  });
}

async function refreshLater(work: FeedWork): Promise<void> {
  if (work.kind === "comment") await refreshPost(work.post);
  await cacheFirstPage();
}

/** Removes a post that is deleted, or no longer public. */
export function removePost(id: string | null): void {
  posts.value = posts.value.filter((post) => post.value.id !== id);
  withheldPosts.value = withheldPosts.value.filter((post) => post.id !== id);
}

/** Reads a post again; a post that is not public leaves the feed. */
export async function refreshPost(id: string): Promise<void> {
  try {
    showPost(await readPost(id));
  } catch (error) {
    if (error instanceof RefusedError && error.reply.status === 404) posts.value = posts.value.filter((post) => post.value.id !== id);
  }
}

/** Replaces the post where it is; a new post comes first. */
function showPost(post: Post): void {
  const shown = postById(post.id);
  if (shown !== undefined) shown.value = post;
  else posts.value = [signal(post), ...posts.value];
  if (shown === undefined) added.push(post.id);
}
