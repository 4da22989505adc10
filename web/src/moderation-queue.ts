/**
 * The moderation queue, as admins see it: the service's entries, less those that this admin has decided. An entry
 * leaves at once, also offline; it comes back if the service refuses the decision.
 */
import { computed, signal } from "@preact/signals";
import { type QueueEntry, readQueue } from "./decisions";
import * as me from "./me";
import * as outbox from "./outbox";
import type { Answer } from "./queue";
import { type Subject, subjectName } from "./works";

const REFRESH_MS = 60_000;
/** The next page is loaded while this many entries are left. */
const MIN_LEFT = 20;

const loaded = signal<QueueEntry[]>([]);
const cursor = signal<string | null>(null);
/** True once the first page has come. */
export const isLoaded = signal(false);
/** Subjects that this admin has decided about since the entries were loaded. */
const decided = signal<Set<string>>(new Set());

me.sessionEnds.subscribe(() => {
  loaded.value = [];
  cursor.value = null;
  isLoaded.value = false;
  decided.value = new Set();
});

/** The subject of an entry, whose content may be gone. */
export function subjectOf({ post_id: post, comment_id: comment, user }: QueueEntry): Subject {
  return post === null ? { user: user ?? "" } : { post, comment };
}

export function entryName(entry: QueueEntry): string {
  return `${entry.kind} ${nameOf(entry)}`;
}

function nameOf(entry: QueueEntry): string {
  return subjectName(subjectOf(entry));
}

/** Decisions that wait, in the order of their creation. */
const waitingDecisions = computed(() =>
  outbox.ownEntries.value.flatMap(({ work, state }) => (work.kind === "decision" && state.is !== "failed" ? [work] : [])),
);

/** The entries without a decision, oldest first. */
export const openEntries = computed(() => {
  const waiting = new Set(waitingDecisions.value.map(({ subject }) => subjectName(subject)));
  return loaded.value.filter((entry) => {
    const name = nameOf(entry);
    return !decided.value.has(name) && !waiting.has(name);
  });
});

/** The number of open entries, as far as they are loaded. */
export function countText(): string {
  return cursor.value === null ? String(openEntries.value.length) : `${openEntries.value.length}+`;
}

/** Reads the queue now and every minute while the page is in view; returns a function that ends this. */
export function watchQueue(): () => void {
  const load = () => {
    if (!document.hidden) void loadQueue();
  };
  load();
  const timer = setInterval(load, REFRESH_MS);
  document.addEventListener("visibilitychange", load);
  const endOutcomes = outbox.outcome.subscribe((last) => {
    if (last?.entry.work.kind === "decision") applyAnswer(last.entry.work.subject, last.answer);
  });
  return () => {
    clearInterval(timer);
    document.removeEventListener("visibilitychange", load);
    endOutcomes();
  };
}

/** Takes the subject's entries off the queue at once, before the decision is stored. */
export function markDecided(subject: Subject): void {
  decided.value = new Set([...decided.peek(), subjectName(subject)]);
}

/** Brings the subject's entries back if the service has refused the decision. */
function applyAnswer(subject: Subject, answer: Answer): void {
  if (answer.is === "done") markDecided(subject);
  else if (answer.is === "failed") decided.value = new Set([...decided.peek()].filter((name) => name !== subjectName(subject)));
}

/** Reads the first page. */
export async function loadQueue(): Promise<void> {
  const user = me.sendingUser.peek();
  if (user === null) return;
  const before = decided.peek();
  const page = await readQueue(user.identity, null).catch(() => null);
  if (page === null || me.session.peek()?.user !== user.user) return;
  loaded.value = page.entries;
  cursor.value = page.next;
  isLoaded.value = true;
  // This page is newer than those decisions: their subjects may have new entries.
  decided.value = new Set([...decided.peek()].filter((name) => !before.has(name)));
}

/** Loads the next page when few entries are left. */
export async function loadMoreEntries(): Promise<void> {
  const user = me.sendingUser.peek();
  const after = cursor.peek();
  if (user === null || after === null || openEntries.peek().length >= MIN_LEFT) return;
  const page = await readQueue(user.identity, after).catch(() => null);
  if (page === null || cursor.peek() !== after) return;
  const names = new Set(loaded.peek().map(entryName));
  loaded.value = [...loaded.peek(), ...page.entries.filter((entry) => !names.has(entryName(entry)))];
  cursor.value = page.next;
}
