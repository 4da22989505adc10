/** Comments: reading a post's, and how each thing that a person does to one is sent. */
import { type Identity, read, request, type Schemas, verdict } from "./api";
import { editTexts } from "./posts";
import type { Answer, CommentDeletion, CommentEdit, CommentWork, Entry } from "./queue";

export type Comment = Schemas["CommentBody"];
export type CommentPage = Schemas["CommentPageBody"];

const PAGE = 20;

/** Newest first. */
export function list(post: string, cursor: string | null): Promise<CommentPage> {
  const after = cursor === null ? "" : `&cursor=${encodeURIComponent(cursor)}`;
  return read<CommentPage>(`posts/${post}/comments?limit=${PAGE}${after}`);
}

export async function add(entry: Entry, work: CommentWork, identity: Identity): Promise<Answer> {
  const reply = await request("POST", `posts/${work.post}/comments`, {
    identity,
    headers: { "idempotency-key": entry.key },
    json: { content: work.content },
  });
  return reply.status === 201 ? { is: "done" } : verdict(reply);
}

export function edit(work: CommentEdit, identity: Identity): Promise<Answer> {
  const path = `posts/${work.post}/comments/${work.comment}`;
  return editTexts(path, work.base, { content: work.content }, identity);
}

export async function remove(work: CommentDeletion, identity: Identity): Promise<Answer> {
  const reply = await request("DELETE", `posts/${work.post}/comments/${work.comment}`, { identity });
  if (reply.status === 204) return { is: "done" };
  return reply.status === 404 ? { is: "gone" } : verdict(reply);
}
