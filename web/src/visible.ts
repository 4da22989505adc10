/** The content that the page shows to this user: without blocked users and reported posts. */
import { computed } from "@preact/signals";
import * as blocks from "./blocks";
import * as feed from "./feed";
import * as outbox from "./outbox";
import { withheldPosts } from "./withheld";

/** The works of the user that are not sent yet and that the service has not refused. */
const openWorks = computed(() => outbox.ownEntries.value.filter((entry) => entry.state.is !== "failed").map(({ work }) => work));

export const blockedUsers = computed(() => blocks.blockedUsers(openWorks.value));
const reportedPosts = computed(() => blocks.reportedPosts(openWorks.value));
export const reportedComments = computed(() => blocks.reportedComments(openWorks.value));
/** The user's own posts that were hidden after the feed was read. */
const withheld = computed(() => new Set(withheldPosts.value.map(({ id }) => id)));

/** The posts of the feed. */
export const visiblePosts = computed(() =>
  feed.posts.value.filter(({ value: { id, creator } }) => !blockedUsers.value.has(creator) && !reportedPosts.value.has(id) && !withheld.value.has(id)),
);

/** The comments of users who are not blocked. */
export function visibleComments<Written extends { creator: string }>(comments: Written[]): Written[] {
  return comments.filter(({ creator }) => !blockedUsers.value.has(creator));
}
