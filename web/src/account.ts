/** The user's account: all data in one file, and deletion. */
import { answerOfAttempt, type Identity, read, readBytes, RefusedError, request, verdict } from "./api";
import * as me from "./me";
import * as outbox from "./outbox";
import type { Post } from "./posts";
import type { Answer } from "./queue";
import { pagePath } from "./reports";
import { type ZipFile, zipOf } from "./zip";

/** The lists of the user's data, by the field of a page that has their items. */
const LISTS = ["posts", "comments", "reports", "blocks", "decisions"] as const;
type List = (typeof LISTS)[number];
type Page = Record<List, unknown[]> & { next: string | null };

const EXTENSIONS: Record<string, string> = {
  "image/jpeg": "jpg",
  "image/png": "png",
  "image/bmp": "bmp",
  "image/webp": "webp",
  "image/gif": "gif",
  "image/heic": "heic",
  "image/avif": "avif",
};

/**
 * An archive of all lists, as JSON, and of the original images. `report` has the number of images that are loaded,
 * and of all. Raises `RefusedError`, `UnreachableError`, `ZipTooLargeError`.
 */
export async function takeOut(identity: Identity, report: (done: number, total: number) => void): Promise<Blob> {
  const files: ZipFile[] = [];
  let posts: Post[] = [];
  for (const list of LISTS) {
    const items = await readAll(list, identity);
    if (list === "posts") posts = items as Post[];
    files.push({ name: `${list}.json`, content: new Blob([JSON.stringify(items, null, 2)]) });
  }
  for (const [index, post] of posts.entries()) {
    report(index + 1, posts.length);
    const original = await readOriginal(post.id, identity);
    if (original !== null) files.push({ name: `originals/${post.id}.${EXTENSIONS[original.type] ?? "bin"}`, content: original });
  }
  return zipOf(files, new Date());
}

async function readAll(list: List, identity: Identity): Promise<unknown[]> {
  const items: unknown[] = [];
  let cursor: string | null = null;
  do {
    const page: Page = await read<Page>(pagePath(`me/${list}`, cursor), { identity });
    items.push(...page[list]);
    cursor = page.next;
  } while (cursor !== null);
  return items;
}

/** The original of a post; null if the post has none (its bytes never came, or it failed). */
async function readOriginal(post: string, identity: Identity): Promise<Blob | null> {
  try {
    return await readBytes(`posts/${post}/original`, identity);
  } catch (error) {
    if (error instanceof RefusedError && [404, 409].includes(error.reply.status)) return null;
    throw error;
  }
}

/** Has the browser store a file. */
export function saveFile(content: Blob, name: string): void {
  const url = URL.createObjectURL(content);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  // The browser reads it after this event.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** Deletes the account, then everything of the user on this device. Never by the queue: there is no way back. */
export async function deleteAccount({ user, identity }: me.Session): Promise<Answer> {
  const answer = await answerOfAttempt(async () => {
    const reply = await request("DELETE", "me", { identity, json: { confirm: user } });
    return reply.status === 202 ? { is: "done" } : verdict(reply);
  });
  if (answer.is === "done") await forgetUser(user);
  return answer;
}

async function forgetUser(user: string): Promise<void> {
  await outbox.removeAllOf(user);
  // The offline copies have the user's posts and images.
  if (globalThis.caches !== undefined) {
    const names = (await caches.keys()).filter((name) => /^(read|images) /.test(name));
    await Promise.all(names.map((name) => caches.delete(name)));
  }
  await me.signOut(false);
}
