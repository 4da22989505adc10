/** The state of the moderation view: the current entry, its reason and text, the decisions made, and `Undo`. */
import { computed, effect, signal } from "@preact/signals";
import type { QueueEntry } from "./decisions";
import * as me from "./me";
import { entryName, isLoaded, loadMoreEntries, markDecided, openEntries, subjectOf } from "./moderation-queue";
import { moderationTexts } from "./moderation-texts";
import * as outbox from "./outbox";
import { REASONS } from "./reports";
import { type Action, type DecisionWork, type Reason, type Subject, subjectName } from "./works";

interface PastDecision {
  entry: QueueEntry;
  work: DecisionWork;
}

export const current = signal<QueueEntry | null>(null);
export const reason = signal<Reason | null>(null);
export const note = signal("");
/** The last result, as a sentence. */
export const message = signal("");
/** The action that asks first, while it asks. */
export const question = signal<"delete" | "ban" | null>(null);
const past = signal<PastDecision[]>([]);
/** True for an entry that `Undo` shows again: its reports and appeals stay closed. */
const isClosed = signal(false);

export const canUndo = computed(() => {
  const last = past.value.at(-1);
  return last !== undefined && last.work.action !== "delete";
});

/** The number of the current entry among the open ones; 0 for one that is no longer open. */
export const position = computed(() => openEntries.value.findIndex((entry) => isCurrent(entry)) + 1);

function isCurrent(entry: QueueEntry): boolean {
  return current.value !== null && entryName(entry) === entryName(current.value);
}

/** Shows the oldest entry whenever there is none; call when the view opens. Returns a function that ends this. */
export function startModerating(): () => void {
  past.value = [];
  message.value = "";
  show(null);
  return effect(() => {
    const first = openEntries.value[0];
    if (current.value === null && isLoaded.value && first !== undefined) show(first);
  });
}

me.sessionEnds.subscribe(() => {
  past.value = [];
  show(null);
});

function show(entry: QueueEntry | null, closed = false): void {
  current.value = entry;
  isClosed.value = closed;
  reason.value = entry === null ? null : likelyReason(entry);
  note.value = "";
  question.value = null;
}

/** The most frequent reason of the reports, else that of the decision under appeal. */
function likelyReason({ reasons, appeal }: QueueEntry): Reason | null {
  const reported = REASONS.filter((name) => (reasons[name] ?? 0) > 0);
  const mostFrequent = reported.sort((left, right) => (reasons[right] ?? 0) - (reasons[left] ?? 0))[0];
  return mostFrequent ?? REASONS.find((name) => name === appeal?.decision?.reason) ?? null;
}

/** The actions that fit the state of the entry's subject. */
export function actionsOf(entry: QueueEntry): Action[] {
  const dismissal: Action[] = isClosed.value ? [] : ["dismiss"];
  if (entry.comment_id !== null) return entry.comment === null ? dismissal : [...dismissal, "delete", "ban"];
  if (entry.post_id === null) return ["unban", ...dismissal, "ban", "delete"];
  if (entry.post === null) return dismissal;
  const { status } = entry.post;
  if (status === "hidden") return ["restore", ...dismissal, "delete", "ban"];
  if (status === "ready") return [...dismissal, "hide", "delete", "ban"];
  const isReport = entry.kind === "report" || entry.kind === "appeal";
  return ["publish", ...(isReport ? dismissal : []), "delete", "ban"];
}

/** The creator of the entry's content, or the user whom it is about. */
export function userOf({ post, comment, user }: QueueEntry): string {
  return comment?.creator ?? post?.creator ?? user ?? "";
}

const NEEDS_REASON: Action[] = ["hide", "delete", "ban"];

/** Starts an action: asks first, or decides at once. */
export function start(action: Action): void {
  const entry = current.value;
  if (entry === null || !actionsOf(entry).includes(action)) return;
  if (NEEDS_REASON.includes(action) && reason.value === null) message.value = moderationTexts.chooseReason;
  else if (action === "delete" || action === "ban") question.value = action;
  else decide(action, null, false);
}

/** Queues a decision, and shows the next entry. A ban leaves the entry of the user's content as it is. */
export function decide(action: Action, until: string | null, blockImage: boolean): void {
  const entry = current.peek();
  if (entry === null) return;
  const about = subjectOf(entry);
  const subject = action === "ban" || action === "unban" ? { user: userOf(entry) } : about;
  const isAboutEntry = subjectName(subject) === subjectName(about);
  const next = isAboutEntry ? entryAfter(subjectName(about)) : entry;
  send(entry, { subject, action, until, blockImage, reason: reasonFor(action), text: note.peek().trim() });
  question.value = null;
  if (isAboutEntry) show(next);
  message.value = moderationTexts.done[action];
  void loadMoreEntries();
}

function reasonFor(action: Action): Reason | null {
  return NEEDS_REASON.includes(action) ? reason.peek() : null;
}

function send(entry: QueueEntry, decision: Omit<DecisionWork, "kind">): void {
  const work: DecisionWork = { kind: "decision", ...decision };
  past.value = [...past.peek(), { entry, work }];
  markDecided(work.subject);
  void outbox.add(work);
}

/** The next open entry about another subject: after this one, else the first. */
function entryAfter(name: string): QueueEntry | null {
  const others = openEntries.peek();
  const at = others.findIndex(isCurrent);
  const isOther = (candidate: QueueEntry) => subjectName(subjectOf(candidate)) !== name;
  return others.slice(at + 1).find(isOther) ?? others.find(isOther) ?? null;
}

/** Shows the entry before or after the current one, without a decision. */
export function skip(step: 1 | -1): void {
  const entries = openEntries.peek();
  const next = position.peek() === 0 ? entries[0] : entries[position.peek() - 1 + step];
  if (next === undefined) return;
  show(next);
  message.value = "";
}

/** The action that undoes another one; null if nothing has to be undone (`dismiss`). */
const OPPOSITES: Partial<Record<Action, Action>> = { hide: "restore", restore: "hide", publish: "hide", ban: "unban", unban: "ban" };

/** Undoes the last decision by the opposite one, and shows its entry again. */
export function undo(): void {
  const last = past.peek().at(-1);
  if (last === undefined || !canUndo.peek()) return;
  past.value = past.peek().slice(0, -1);
  const { entry, work } = last;
  const action = OPPOSITES[work.action];
  if (action !== undefined) {
    const reasonOfUndo = NEEDS_REASON.includes(action) ? (likelyReason(entry) ?? "other") : null;
    // A decision that was appealed is in force again as it was.
    const former = entry.appeal?.decision;
    const again = former?.action === action ? { text: former.text ?? "", until: former.until } : { text: "", until: null };
    void outbox.add({ kind: "decision", subject: work.subject, action, reason: reasonOfUndo, ...again, blockImage: false });
  }
  show(entryAfterUndo(entry, work.subject, action), true);
  message.value = moderationTexts.undone;
}

/** The entry with the state of its post after the undoing decision. */
function entryAfterUndo(entry: QueueEntry, subject: Subject, action: Action | undefined): QueueEntry {
  if (action !== "hide" || entry.post === null || "user" in subject) return entry;
  return { ...entry, post: { ...entry.post, status: "hidden" } };
}
