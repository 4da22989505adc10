/**
 * What a person has made and the service does not have yet: entries, and all the rules of how one moves.
 * Everything that affects an entry's state is in this file, and nothing here does any I/O.
 *
 *   waiting ──sent──▶ its answer ──▶ gone from the queue, or its next stage (a post: reserve, upload, process)
 *      ▲                  ├──▶ retrying (`waitMs`)          no answer, 409 of a running request, 429, 5xx
 *      │                  ├──▶ asking                       an edit that met another one; older than six days
 *      └──a person────────┴──▶ failed                       the service will never take it
 *
 * `sending.ts` carries entries out. It keeps an entry before it is first sent, and its new state before
 * anything that follows from it, so that a crash between any two steps only repeats a step; what is
 * repeated carries the same idempotency key, or is harmless by itself.
 */

/** Resending is safe for as long as the service keeps idempotency keys (7 days), less a day for clocks. */
export const RESENDABLE_MS = 6 * 24 * 3600 * 1000;
const FIRST_BACKOFF_MS = 1_000;
const MAX_BACKOFF_MS = 30_000;
const MIN_BACKOFF_MS = 100;
/** A service that says longer is asked again after this time: one request an hour harms nobody. */
const MAX_RETRY_AFTER_MS = 3600 * 1000;
/** How far ahead a clock may have been when an entry was first sent, for its age still to be known. */
const CLOCK_SLACK_MS = 24 * 3600 * 1000;

export interface PostTexts {
  caption: string;
  alt: string;
}

export interface PostWork extends PostTexts {
  kind: "post";
  image: { name: string; type: string; size: number };
  stage: "reserve" | "upload" | "process" | "remove";
  /** Of the post, once it is reserved. */
  post: string | null;
  tus: string | null;
}
export interface CommentWork {
  kind: "comment";
  post: string;
  content: string;
}
/** `base` is what the person saw and changed: what is there must still be that. */
export interface PostEdit extends PostTexts {
  kind: "edit post";
  post: string;
  base: PostTexts;
}
export interface CommentEdit {
  kind: "edit comment";
  post: string;
  comment: string;
  content: string;
  base: { content: string };
}
export interface PostDeletion {
  kind: "delete post";
  post: string;
}
export interface CommentDeletion {
  kind: "delete comment";
  post: string;
  comment: string;
}
export type Work = PostWork | CommentWork | PostEdit | CommentEdit | PostDeletion | CommentDeletion;

export type State =
  | { is: "waiting" }
  /** `why` is the code of what the service answered, if it did. */
  /** Until `waitMs` have passed. `at` is the time by this device's clock, which may be wrong (`waits.ts`).
   * Entries of former versions have no `waitMs`. */
  | { is: "retrying"; at: number; waitMs?: number; why?: string }
  | { is: "paused" }
  | { is: "asking"; why: "old" }
  | { is: "asking"; why: "conflict"; theirs: Record<string, string> }
  | { is: "failed"; code: string; detail: string };

export interface Entry {
  /** Its place in the queue. */
  id: number;
  /** Its `Idempotency-Key`. */
  key: string;
  /** The user who made it: it is sent as nobody else. */
  owner: string;
  work: Work;
  state: State;
  /** Times in a row that nothing came of it. */
  tries: number;
  firstSentAt: number | null;
}

/** What became of sending an entry once. */
export type Answer =
  | { is: "done" }
  | { is: "reserved"; post: string; tus: string | null }
  | { is: "uploaded" }
  | { is: "processing" }
  /** The upload has run out, or is at another offset than we thought. */
  | { is: "upload gone" }
  | { is: "out of step"; progress?: boolean }
  /** What it was about is no longer there. */
  | { is: "gone" }
  | { is: "conflict"; theirs: Record<string, string> }
  | { is: "failed"; code: string; detail: string }
  | { is: "signed out" }
  /** `progress`: the attempt moved the upload's offset, so back-off begins anew. */
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
 * The entry as it is to be kept before it is sent; it is not sent if it then asks for something.
 * `sentHere`: this page has sent it before, so its age is known although the clock was set back.
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

/** Also where the clock was set back so far that the age is not known. */
function isOld(entry: Entry, now: number): boolean {
  const age = now - (entry.firstSentAt ?? now);
  return isKeyed(entry) && (age > RESENDABLE_MS || age < -CLOCK_SLACK_MS);
}

/**
 * The entry, as it is kept now, after the answer to what was `sent`; null if it leaves the queue. What a
 * person asked for meanwhile (a pause, its removal) stands.
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
      // The first time at once: nothing is wrong but our idea of the offset.
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

/** By the same key; what was reserved before is forgotten, so that a removal asks for what is there now. */
function withoutReservation(entry: Entry): Entry {
  if (entry.work.kind !== "post") return entry;
  return { ...entry, work: resetWork(entry.work), state: { is: "waiting" } };
}

/** Exponential, with full jitter, and never before the service said (RFC 9110, section 10.2.3). */
function backOff(entry: Entry, afterMs: number | null, moment: Moment, tries: number): Entry {
  const maxWait = Math.min(MAX_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** tries);
  const waitMs = Math.max(MIN_BACKOFF_MS, moment.random * maxWait) + Math.min(afterMs ?? 0, MAX_RETRY_AFTER_MS);
  return { ...entry, tries: tries + 1, state: { is: "retrying", at: moment.now + waitMs, waitMs } };
}

// What a person, or the network's return, does to an entry.

/** Not what the service itself put off. */
export function endBackOff(entry: Entry): Entry {
  const isCut = entry.state.is === "retrying" && entry.state.why === undefined;
  return isCut ? { ...entry, state: { is: "waiting" }, tries: 0 } : entry;
}

export function pauseEntry(entry: Entry): Entry {
  return isActive(entry) ? { ...entry, state: { is: "paused" } } : entry;
}

/** Goes on after a pause, a failure, or six days. What failed or is old gets a new key: a person said so. */
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

/** `Remove`: null if nothing of it can be at the service, else the entry that takes it back. */
export function removeEntry(entry: Entry): Entry | null {
  if (entry.work.kind !== "post" || entry.firstSentAt === null) return null;
  const work: PostWork = { ...entry.work, stage: "remove" };
  return { ...entry, work, state: { is: "waiting" }, tries: 0 };
}

/** An edit that met another one, decided: mine replaces what is there now. */
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

/** Whether it goes on by itself. */
export function isActive(entry: Entry): boolean {
  return entry.state.is === "waiting" || entry.state.is === "retrying";
}

// Which entry is sent next.

/** Entries of one lane are sent one after the other, in the order in which they were made. */
export function lane(entry: Entry): string {
  const { work } = entry;
  switch (work.kind) {
    case "post":
      return work.stage === "process" || work.stage === "remove" ? `entry ${entry.id}` : "uploads";
    case "comment":
      return `comments of ${work.post}`;
    case "edit post":
    case "delete post":
      return `post ${work.post}`;
    case "edit comment":
    case "delete comment":
      return `comment ${work.comment}`;
  }
}

/** The milliseconds that an entry still has to wait; 0 if it waits for no time. */
export type Remaining = (entry: Entry) => number;

/** By the device's clock, but never longer than the whole wait: the clock may have been set back. */
export function remainingMs(entry: Entry, now: number): number {
  if (entry.state.is !== "retrying") return 0;
  const { at, waitMs = MAX_BACKOFF_MS } = entry.state;
  return Math.max(0, Math.min(at - now, waitMs));
}

/**
 * What may be sent now, of `owner`: of each lane the first entry that is not set aside. `busy` are those
 * being sent.
 */
export function dueEntries(entries: Entry[], owner: string | null, remaining: Remaining, busy: Set<number>): Entry[] {
  const busyLanes = new Set(entries.filter((entry) => busy.has(entry.id)).map(lane));
  return entries.filter((entry) => {
    const entryLane = lane(entry);
    if (entry.owner !== owner || isSkipped(entry) || busyLanes.has(entryLane)) return false;
    const isDue = isActive(entry) && remaining(entry) === 0;
    // One image that is tried again later does not hold up the next one.
    if (isDue || entryLane !== "uploads") busyLanes.add(entryLane);
    return isDue;
  });
}

/** An edit that waits for a decision holds up later edits of the same thing: they were made from it. */
function isSkipped(entry: Entry): boolean {
  if (entry.state.is === "asking") return entry.work.kind === "post" || entry.work.kind === "comment";
  return entry.state.is === "paused" || entry.state.is === "failed";
}

/** In how many milliseconds to look again, if nothing else happens; null if only a person can move anything. */
export function nextWaitMs(entries: Entry[], owner: string | null, remaining: Remaining): number | null {
  const waits = entries.filter((entry) => entry.owner === owner && entry.state.is === "retrying").map(remaining);
  return waits.length === 0 ? null : Math.min(...waits);
}
