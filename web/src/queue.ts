/**
 * The queue: entries for work that the service does not have yet, and all rules that change their state. No
 * other file changes the state of an entry, and this file does no I/O.
 *
 *   waiting ──sent──▶ answer ──▶ removed from the queue, or its next stage (a post: reserve, upload, process)
 *      ▲                  ├──▶ retrying (`waitMs`)          no answer, 409 of a running request, 429, 5xx
 *      │                  ├──▶ asking                       an edit conflict; first sent over six days ago
 *      └──the user────────┴──▶ failed                       the service refuses it for good
 *
 * `sending.ts` sends entries. It stores an entry before the first request, and each new state before the next
 * step, so that a crash only repeats a step. A repeated request has the same idempotency key, or is harmless.
 */

import { laneOfWork, type PostWork, type Work } from "./works";

/** Resending is safe for as long as the service keeps idempotency keys (7 days), less a day for clocks. */
export const RESENDABLE_MS = 6 * 24 * 3600 * 1000;
const FIRST_BACKOFF_MS = 1_000;
const MAX_BACKOFF_MS = 30_000;
const MIN_BACKOFF_MS = 100;
/** The longest Retry-After that is respected: one request an hour does no harm. */
const MAX_RETRY_AFTER_MS = 3600 * 1000;
/** An entry from a clock that was farther ahead than this has an unknown age. */
const CLOCK_SLACK_MS = 24 * 3600 * 1000;

export type State =
  | { is: "waiting" }
  /** The next attempt is in `waitMs`: `at` that time by this device's clock, which may be wrong (`waits.ts`).
   * Entries of former versions have no `waitMs`. `why`: the code of the service's answer, if one came. */
  | { is: "retrying"; at: number; waitMs?: number; why?: string }
  | { is: "paused" }
  | { is: "asking"; why: "old" }
  | { is: "asking"; why: "conflict"; theirs: Record<string, string> }
  | { is: "failed"; code: string; detail: string };

export interface Entry {
  /** The position in the queue. */
  id: number;
  /** The `Idempotency-Key`. */
  key: string;
  /** The user who created it; it is sent only as this user. */
  owner: string;
  work: Work;
  state: State;
  /** The number of failed attempts in a row. */
  tries: number;
  firstSentAt: number | null;
}

/** The outcome of one attempt to send an entry. */
export type Answer =
  /** `inReview`: the post is there, and appears when an admin has published it. */
  | { is: "done"; inReview?: boolean }
  | { is: "reserved"; post: string; tus: string | null }
  | { is: "uploaded" }
  | { is: "processing" }
  /** The upload has expired; or its offset is another one than expected. */
  | { is: "upload gone" }
  | { is: "out of step"; progress?: boolean }
  /** The post or comment was deleted. */
  | { is: "gone" }
  | { is: "conflict"; theirs: Record<string, string> }
  | { is: "failed"; code: string; detail: string }
  | { is: "signed out" }
  /** `progress`: the attempt moved the upload's offset, so back-off starts again. */
  | { is: "try again"; afterMs: number | null; why?: string; progress?: boolean };

export interface Moment {
  now: number;
  /** From 0 to 1. */
  random: number;
}

export function newEntry(key: string, owner: string, work: Work): Omit<Entry, "id"> {
  return { key, owner, work, state: { is: "waiting" }, tries: 0, firstSentAt: null };
}

/**
 * The entry to store before it is sent. It is not sent if its state is then `asking`. `sentHere`: this page
 * has sent it before, so its age is known although the clock was set back.
 */
export function startSending(entry: Entry, now: number, sentHere = false): Entry {
  const { firstSentAt } = entry;
  if (firstSentAt === null) return { ...entry, firstSentAt: now };
  if (sentHere ? now - firstSentAt > RESENDABLE_MS && isKeyed(entry) : isOld(entry, now)) {
    return { ...entry, state: { is: "asking", why: "old" } };
  }
  return firstSentAt > now ? { ...entry, firstSentAt: now } : entry;
}

function isKeyed(entry: Entry): boolean {
  return entry.work.kind !== "post" || entry.work.stage === "reserve";
}

/** True also if the clock was set back so far that the age is unknown. */
function isOld(entry: Entry, now: number): boolean {
  const age = now - (entry.firstSentAt ?? now);
  return isKeyed(entry) && (age > RESENDABLE_MS || age < -CLOCK_SLACK_MS);
}

/**
 * The stored entry after the answer to the request for `sent`; null removes it from the queue. A pause or a
 * removal by the user during the request stays.
 */
export function applyAnswer(entry: Entry, sent: Entry, answer: Answer, moment: Moment): Entry | null {
  if (isRemoval(entry) && !isRemoval(sent)) {
    return answer.is === "reserved" ? withReservation(entry, answer.post, answer.tus) : entry;
  }
  const after = entryAfter(entry, answer, moment);
  const staysPaused = entry.state.is === "paused" && after !== null && isActive(after);
  return staysPaused ? { ...after, state: entry.state } : after;
}

function isRemoval(entry: Entry): boolean {
  return entry.work.kind === "post" && entry.work.stage === "remove";
}

function entryAfter(entry: Entry, answer: Answer, moment: Moment): Entry | null {
  switch (answer.is) {
    case "done":
    case "gone":
      return null;
    case "reserved":
      return withReservation(entry, answer.post, answer.tus);
    case "uploaded":
      return withStage(entry, "process");
    case "processing":
    case "signed out":
      return { ...entry, state: { is: "waiting" }, tries: 0 };
    case "upload gone":
      return backOff(withoutReservation(entry), null, moment, entry.tries);
    case "out of step":
      // The first time, retry at once: only the expected offset was wrong.
      return entry.tries === 0 || answer.progress
        ? { ...entry, tries: 1, state: { is: "waiting" } }
        : backOff(entry, null, moment, entry.tries);
    case "conflict":
      return { ...entry, state: { is: "asking", why: "conflict", theirs: answer.theirs } };
    case "failed":
      return { ...entry, state: { is: "failed", code: answer.code, detail: answer.detail } };
    case "try again":
      return withReason(answer.why, backOff(entry, answer.afterMs, moment, answer.progress ? 0 : entry.tries));
  }
}

function withReason(why: string | undefined, entry: Entry): Entry {
  if (why === undefined || entry.state.is !== "retrying") return entry;
  return { ...entry, state: { ...entry.state, why } };
}

function withReservation(entry: Entry, post: string, tus: string | null): Entry {
  if (entry.work.kind !== "post") return entry;
  const isRemoving = entry.work.stage === "remove";
  const stage = isRemoving ? "remove" : tus === null ? "process" : "upload";
  return { ...entry, tries: 0, state: { is: "waiting" }, work: { ...entry.work, post, tus, stage } };
}

function withStage(entry: Entry, stage: PostWork["stage"]): Entry {
  if (entry.work.kind !== "post") return entry;
  return { ...entry, tries: 0, state: { is: "waiting" }, work: { ...entry.work, stage } };
}

/** Starts again with the same key. The old post is dropped, so that a removal finds the post of the key. */
function withoutReservation(entry: Entry): Entry {
  if (entry.work.kind !== "post") return entry;
  return { ...entry, work: resetWork(entry.work), state: { is: "waiting" } };
}

/** Exponential back-off with full jitter, never earlier than Retry-After (RFC 9110, section 10.2.3). */
function backOff(entry: Entry, afterMs: number | null, moment: Moment, tries: number): Entry {
  const maxWait = Math.min(MAX_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** tries);
  const waitMs = Math.max(MIN_BACKOFF_MS, moment.random * maxWait) + Math.min(afterMs ?? 0, MAX_RETRY_AFTER_MS);
  return { ...entry, tries: tries + 1, state: { is: "retrying", at: moment.now + waitMs, waitMs } };
}

// Changes by the user, and at the return of the network.

/** Ends a wait for the network; a wait that the service requested stays. */
export function endBackOff(entry: Entry): Entry {
  const isCut = entry.state.is === "retrying" && entry.state.why === undefined;
  return isCut ? { ...entry, state: { is: "waiting" }, tries: 0 } : entry;
}

export function pauseEntry(entry: Entry): Entry {
  return isActive(entry) ? { ...entry, state: { is: "paused" } } : entry;
}

/** Resumes after a pause, a failure, or six days. A failed or old entry gets a new key: the user decided so. */
export function resumeEntry(entry: Entry, key: string): Entry {
  if (isActive(entry)) return entry;
  const isNewRequest = entry.state.is !== "paused";
  const work = isNewRequest && entry.work.kind === "post" ? resetWork(entry.work) : entry.work;
  const start = isNewRequest ? { key, firstSentAt: null } : {};
  return { ...entry, ...start, work, state: { is: "waiting" }, tries: 0 };
}

function resetWork(work: PostWork): PostWork {
  return work.stage === "remove" ? work : { ...work, stage: "reserve", post: null, tus: null };
}

/** Removes an entry: null if it was never sent, else an entry that deletes its post. */
export function removeEntry(entry: Entry): Entry | null {
  if (entry.work.kind !== "post" || entry.firstSentAt === null) return null;
  const work: PostWork = { ...entry.work, stage: "remove" };
  return { ...entry, work, state: { is: "waiting" }, tries: 0 };
}

/** Resolves an edit conflict: the user's texts replace the current ones. */
export function overrideTheirs(entry: Entry): Entry {
  const { work, state } = entry;
  if (state.is !== "asking" || state.why !== "conflict") return entry;
  const base = state.theirs;
  const retried = { ...entry, state: { is: "waiting" as const }, tries: 0 };
  if (work.kind === "edit post") {
    return { ...retried, work: { ...work, base: { caption: base["caption"] ?? "", alt: base["alt"] ?? "" } } };
  }
  if (work.kind !== "edit comment") return entry;
  return { ...retried, work: { ...work, base: { content: base["content"] ?? "" } } };
}

/** True if it continues without the user. */
export function isActive(entry: Entry): boolean {
  return entry.state.is === "waiting" || entry.state.is === "retrying";
}

// The order of sending.

/** Entries of one lane are sent one after the other, in the order of creation. */
export function lane(entry: Entry): string {
  const { work } = entry;
  if (work.kind !== "post") return laneOfWork(work);
  return work.stage === "process" || work.stage === "remove" ? `entry ${entry.id}` : "uploads";
}

/** Milliseconds until an entry may be sent; 0 if it does not wait. */
export type Remaining = (entry: Entry) => number;

/** The wait by the device's clock, at most the whole wait: the clock may have been set back. */
export function remainingMs(entry: Entry, now: number): number {
  if (entry.state.is !== "retrying") return 0;
  const { at, waitMs = MAX_BACKOFF_MS } = entry.state;
  return Math.max(0, Math.min(at - now, waitMs));
}

/**
 * The entries of `owner` to send now: in each lane, the first entry that is not skipped. `busy`: the ids of
 * entries that are being sent.
 */
export function dueEntries(entries: Entry[], owner: string | null, remaining: Remaining, busy: Set<number>): Entry[] {
  const busyLanes = new Set(entries.filter((entry) => busy.has(entry.id)).map(lane));
  return entries.filter((entry) => {
    const entryLane = lane(entry);
    if (entry.owner !== owner || isSkipped(entry) || busyLanes.has(entryLane)) return false;
    const isDue = isActive(entry) && remaining(entry) === 0;
    // An image that waits for a retry does not block the next image.
    if (isDue || entryLane !== "uploads") busyLanes.add(entryLane);
    return isDue;
  });
}

/** An edit that waits for a decision blocks later edits of the same texts: they are based on it. */
function isSkipped(entry: Entry): boolean {
  if (entry.state.is === "asking") return entry.work.kind === "post" || entry.work.kind === "comment";
  return entry.state.is === "paused" || entry.state.is === "failed";
}

/** Milliseconds until the next entry is due; null if no entry waits for a time. */
export function nextWaitMs(entries: Entry[], owner: string | null, remaining: Remaining): number | null {
  const waits = entries.filter((entry) => entry.owner === owner && entry.state.is === "retrying").map(remaining);
  return waits.length === 0 ? null : Math.min(...waits);
}
