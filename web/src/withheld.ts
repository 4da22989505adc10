/** The user's own posts that nobody else sees: hidden by a decision, or waiting for review. */
import { signal } from "@preact/signals";
import { type Identity, read, type Schemas } from "./api";
import * as me from "./me";
import type { Post } from "./posts";
import { pagePath } from "./reports";

export const withheldPosts = signal<Post[]>([]);

me.sessionEnds.subscribe(() => (withheldPosts.value = []));

/** Reads the posts of the user; the former ones stay if the service cannot be reached. */
export async function loadWithheld(user: string, identity: Identity): Promise<void> {
  const pages = ["hidden", "in_review"].map((status) =>
    read<Schemas["OwnPostsBody"]>(`${pagePath("me/posts", null)}&status=${status}`, { identity }),
  );
  const all = await Promise.all(pages).catch(() => null);
  if (all === null || me.session.peek()?.user !== user) return;
  withheldPosts.value = all.flatMap((page) => page.posts).sort((left, right) => (left.id < right.id ? 1 : -1));
}
