/** Requests for comments: read, add, edit, delete. */
import { type Caller, read, request, type Schemas, verdict } from "./api";
import { editTexts } from "./posts";
import type { Answer, Entry } from "./queue";
import type { CommentDeletion, CommentEdit, CommentWork } from "./works";

export type Comment = Schemas["CommentBody"];
export type CommentPage = Schemas["CommentPageBody"];

const PAGE = 20;

/** A page of a post's comments, newest first. */
export function readComments(post: string, cursor: string | null): Promise<CommentPage> {
  const after = cursor === null ? "" : `&cursor=${encodeURIComponent(cursor)}`;
  return read<CommentPage>(`posts/${post}/comments?limit=${PAGE}${after}`);
}

export async function add(entry: Entry, work: CommentWork, caller: Caller): Promise<Answer> {
  const reply = await request("POST", `posts/${work.post}/comments`, {
    ...caller,
    headers: { "idempotency-key": entry.key },
    json: { content: work.content },
  });
  return reply.status === 201 ? { is: "done" } : verdict(reply);
}

export function edit(work: CommentEdit, caller: Caller): Promise<Answer> {
  const path = `posts/${work.post}/comments/${work.comment}`;
  return editTexts(path, work.base, { content: work.content }, caller);
}

export async function remove(work: CommentDeletion, caller: Caller): Promise<Answer> {
  const reply = await request("DELETE", `posts/${work.post}/comments/${work.comment}`, caller);
  if (reply.status === 204) return { is: "done" };
  return reply.status === 404 ? { is: "gone" } : verdict(reply);
}
