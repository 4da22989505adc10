/** Requests for single posts: read, reserve, wait, edit, delete. */
import { type Caller, type Identity, read, request, type Schemas, verdict } from "./api";
import { tidy } from "./limits";
import type { Answer, Entry } from "./queue";
import type { PostDeletion, PostEdit, PostTexts, PostWork } from "./works";

/** `moderation`: for its creator, the decision in force. */
export type Post = Schemas["PostBody"] & Pick<Schemas["CreatedPostBody"], "moderation">;

export const WAIT_SECONDS = 20;

export function readPost(id: string, identity: Identity | null = null): Promise<Post> {
  return read<Post>(`posts/${id}`, { identity });
}

/** The display name of a creator; the user's id if there is none. */
export function creatorName(written: { creator: string; creator_name?: string }): string {
  return written.creator_name || written.creator;
}

/** The stage `reserve`: creates the post, whose reply has the URL for its bytes. */
export async function reserve(entry: Entry, work: PostWork, caller: Caller): Promise<Answer> {
  const { caption, alt, image } = work;
  const reply = await request("POST", "posts", {
    ...caller,
    headers: { "idempotency-key": entry.key },
    json: { caption, alt, image: { size: image.size, content_type: image.type } },
  });
  if (reply.status !== 201) return verdict(reply);
  const created = reply.body as Schemas["CreatedPostBody"];
  return { is: "reserved", post: created.id, tus: created.upload?.tus ?? null };
}

/** The stage `process`: waits while the service makes the renditions. */
export async function waitForImage(work: PostWork, caller: Caller): Promise<Answer> {
  const reply = await request("GET", `posts/${work.post}?wait=${WAIT_SECONDS}`, caller);
  if (reply.status === 404) return { is: "gone" };
  if (reply.status !== 200) return verdict(reply);
  const post = reply.body as Post;
  if (post.status === "ready" || post.status === "hidden") return { is: "done" };
  if (post.status === "in_review") return { is: "done", inReview: true };
  if (post.status === "awaiting_upload") return { is: "upload gone" };
  if (post.status !== "failed") return { is: "processing" };
  return { is: "failed", code: post.failure?.code ?? "failed", detail: post.failure?.detail ?? "" };
}

/** The stage `remove`: deletes the post. If the answer to its reservation was lost, its key finds it. */
export async function cancelPost(entry: Entry, work: PostWork, caller: Caller): Promise<Answer> {
  if (work.post !== null) return remove({ kind: "delete post", post: work.post }, caller);
  const current = await reserve(entry, work, caller);
  return current.is === "failed" ? { is: "gone" } : current;
}

export async function remove(work: PostDeletion, caller: Caller): Promise<Answer> {
  const reply = await request("DELETE", `posts/${work.post}`, caller);
  if (reply.status === 204) return { is: "done" };
  return reply.status === 404 ? { is: "gone" } : verdict(reply);
}

export function edit(work: PostEdit, caller: Caller): Promise<Answer> {
  return editTexts(`posts/${work.post}`, work.base, { caption: work.caption, alt: work.alt }, caller);
}

/**
 * Changes texts from `base`, which the user saw, to `mine`. Other current texts are a conflict. If `mine` is
 * there already, the edit was done and only the answer was lost.
 */
export async function editTexts<Texts extends PostTexts | { content: string }>(
  path: string,
  base: Texts,
  mine: Texts,
  caller: Caller,
): Promise<Answer> {
  const current = await request("GET", path, { ...caller, headers: { "cache-control": "no-cache" } });
  if (current.status === 404) return { is: "gone" };
  if (current.status !== 200) return verdict(current);
  const theirs = textsOf(current.body as Texts, mine);
  if (isSame(theirs, mine)) return { is: "done" };
  if (!isSame(theirs, base)) return { is: "conflict", theirs };
  const headers = { "if-match": current.etag ?? "*" };
  const reply = await request("PATCH", path, { ...caller, headers, json: mine });
  if (reply.status === 200) return { is: "done" };
  if (reply.status === 404) return { is: "gone" };
  // Another edit came between the two requests: the next attempt reads the texts again.
  return reply.status === 412 ? { is: "try again", afterMs: null } : verdict(reply);
}

function textsOf<Texts extends object>(body: Texts, fields: Texts): Record<string, string> {
  const all = body as Record<string, string>;
  return Object.fromEntries(Object.keys(fields).map((name) => [name, all[name] ?? ""]));
}

/** True if the service stores both as the same texts. */
function isSame(left: object, right: object): boolean {
  const tidied = (texts: object) => Object.entries(texts).map(([name, text]) => [name, tidy(String(text))]);
  const mine = new Map(tidied(right) as [string, string][]);
  return tidied(left).every(([name, text]) => mine.get(name as string) === text);
}
