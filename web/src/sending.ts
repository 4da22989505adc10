/**
 * Sends the queue: stores an entry, sends it, stores its state after the answer. `Sender` depends neither on the
 * page nor on the network, so that tests can replace both.
 */
import { answerOfAttempt, type Caller, type Identity } from "./api";
import * as blocks from "./blocks";
import * as comments from "./comments";
import * as decisions from "./decisions";
import * as posts from "./posts";
import { type Answer, applyAnswer, startSending, dueEntries, type Entry, isActive, nextWaitMs, type Remaining } from "./queue";
import * as reports from "./reports";
import type { Storage } from "./storage";
import * as uploads from "./uploads";

export interface SendingUser {
  user: string;
  identity: Identity;
}

export interface SendContext extends Caller {
  image: () => Promise<Blob | undefined>;
  progress: (sentBytes: number) => void;
}

/** Sends the request of an entry's current stage once. */
export function sendEntry(entry: Entry, context: SendContext): Promise<Answer> {
  const { work } = entry;
  const caller = { identity: context.identity, signal: context.signal };
  return answerOfAttempt(async () => {
    switch (work.kind) {
      case "post":
        return work.stage === "upload" && work.tus !== null
          ? sendBytes(work.tus, context)
          : sendPost(entry, caller);
      case "comment":
        return comments.add(entry, work, caller);
      case "edit post":
        return posts.edit(work, caller);
      case "edit comment":
        return comments.edit(work, caller);
      case "delete post":
        return posts.remove(work, caller);
      case "delete comment":
        return comments.remove(work, caller);
      case "report":
        return reports.send(entry, work, caller);
      case "block":
      case "unblock":
        return blocks.send(work, caller);
      case "appeal":
        return decisions.appeal(entry, work, caller);
      case "decision":
        return decisions.decide(entry, work, caller);
    }
  });
}

async function sendPost(entry: Entry, caller: Caller): Promise<Answer> {
  if (entry.work.kind !== "post") return { is: "gone" };
  if (entry.work.stage === "process") return posts.waitForImage(entry.work, caller);
  if (entry.work.stage === "remove") return posts.cancelPost(entry, entry.work, caller);
  return posts.reserve(entry, entry.work, caller);
}

async function sendBytes(url: string, context: SendContext): Promise<Answer> {
  const { identity, signal, progress } = context;
  const bytes = await context.image();
  if (bytes === undefined) return { is: "failed", code: "unreadable", detail: "" };
  return uploads.send({ url, bytes, identity, signal, progress });
}

export interface SenderHost {
  storage: Storage;
  sendEntry: typeof sendEntry;
  /** The signed-in user; null if nobody may send. */
  sendingUser: () => SendingUser | null;
  now: () => number;
  /** Milliseconds until an entry may be sent (`waits.ts`). */
  remaining: Remaining;
  random: () => number;
  notifyChange: () => void;
  progress: (id: number, sentBytes: number) => void;
  /** Shows the user the answer for an entry. */
  reportAnswer: (entry: Entry, answer: Answer) => void;
  /** Called when the service refuses a credential. */
  rejectCredential: (identity: Identity) => Promise<void>;
}

/** The longest timer: browsers treat more than 2^31 ms as 0. */
const MAX_TIMER_MS = 60_000;
/** The shortest timer: the page's time and the timer's time may differ by a fraction. */
const MIN_TIMER_MS = 10;

export class Sender {
  readonly #busy = new Map<number, { owner: string; controller: AbortController }>();
  /** Entries that this page has sent. */
  readonly #sent = new Set<number>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #stopped = false;

  constructor(readonly host: SenderHost) {}

  /**
   * Starts to send all due entries, and sets a timer for the next one. Each promise resolves when its entry,
   * and the entries that became due after it, have their answers.
   */
  async advance(): Promise<Promise<void>[]> {
    const { storage, sendingUser, remaining } = this.host;
    const entries = await storage.entries();
    const user = sendingUser();
    if (this.#stopped || user === null) return [];
    const dueNow = dueEntries(entries, user.user, remaining, new Set(this.#busy.keys()));
    const attempts = dueNow.map((entry) => this.#send(entry, user.identity));
    this.#scheduleAdvance(nextWaitMs(entries, user.user, remaining));
    return attempts;
  }

  /** Ends the attempt for an entry that the user has changed. */
  interrupt(id: number): void {
    this.#busy.get(id)?.controller.abort();
  }

  /** Ends all attempts for other users than `user`. */
  interruptOthers(user: string | undefined): void {
    for (const { owner, controller } of this.#busy.values()) if (owner !== user) controller.abort();
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.interruptOthers(undefined);
  }

  #scheduleAdvance(waitMs: number | null): void {
    clearTimeout(this.#timer);
    if (waitMs === null) return;
    const wait = Math.min(MAX_TIMER_MS, Math.max(MIN_TIMER_MS, waitMs));
    this.#timer = setTimeout(() => void this.advance(), wait);
  }

  async #send(entry: Entry, identity: Identity): Promise<void> {
    const controller = new AbortController();
    this.#busy.set(entry.id, { owner: entry.owner, controller });
    try {
      await this.#sendOnce(entry, identity, controller.signal);
    } finally {
      this.#busy.delete(entry.id);
    }
    this.host.notifyChange();
    if (!this.#stopped) await Promise.all(await this.advance());
  }

  async #sendOnce(entry: Entry, identity: Identity, signal: AbortSignal): Promise<void> {
    const { storage, now, random, reportAnswer, rejectCredential } = this.host;
    const sent = await storage.change(entry.id, (stored) => startSending(stored, now(), this.#sent.has(stored.id)));
    if (sent === null || !isActive(sent)) return;
    this.#sent.add(entry.id);
    this.host.notifyChange();
    const answer = await this.host.sendEntry(sent, {
      identity,
      signal,
      image: () => storage.image(entry.id),
      progress: (bytes) => this.host.progress(entry.id, bytes),
    });
    if (this.#stopped) return;
    if (answer.is === "signed out") await rejectCredential(identity);
    const moment = { now: now(), random: random() };
    await storage.change(entry.id, (stored) => applyAnswer(stored, sent, answer, moment));
    reportAnswer(sent, answer);
  }
}
