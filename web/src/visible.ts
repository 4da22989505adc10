/** The content that the page shows to this user: without blocked users and reported posts. */
import { computed } from "@preact/signals";
import * as blocks from "./blocks";
import * as feed from "./feed";
import * as outbox from "./outbox";

/** The works of the user that are not sent yet and that the service has not refused. */
const openWorks = computed(() => outbox.ownEntries.value.filter((entry) => entry.state.is !== "failed").map(({ work }) => work));

export const blockedUsers = computed(() => blocks.blockedUsers(openWorks.value));
const reportedPosts = computed(() => blocks.reportedPosts(openWorks.value));

/** The posts of the feed. */
export const visiblePosts = computed(() =>
  feed.posts.value.filter((post) => !blockedUsers.value.has(post.value.creator) && !reportedPosts.value.has(post.value.id)),
);

/** The comments of users who are not blocked. */
export function visibleComments<Written extends { creator: string }>(comments: Written[]): Written[] {
  return comments.filter(({ creator }) => !blockedUsers.value.has(creator));
}
