/**
 * Carries the queue out: keeps an entry, sends it, keeps what its answer made of it. `Sender` knows neither
 * the page nor the network, so that tests can give it worse ones than there are.
 */
import { answerOf, type Caller, type Identity } from "./api";
import * as comments from "./comments";
import * as posts from "./posts";
import { type Answer, answered, begun, due, type Entry, isUnderWay, nextIn, type Remaining } from "./queue";
import type { Storage } from "./storage";
import * as uploads from "./uploads";

export interface Signed {
  user: string;
  identity: Identity;
}

export interface Carrying extends Caller {
  image: () => Promise<Blob | undefined>;
  progress: (sentBytes: number) => void;
}

/** Sends an entry, as its stage says, once. */
export function carry(entry: Entry, carrying: Carrying): Promise<Answer> {
  const { work } = entry;
  const caller = { identity: carrying.identity, signal: carrying.signal };
  return answerOf(async () => {
    switch (work.kind) {
      case "post":
        return work.stage === "upload" && work.tus !== null
          ? carryBytes(work.tus, carrying)
          : carryPost(entry, caller);
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
    }
  });
}

async function carryPost(entry: Entry, caller: Caller): Promise<Answer> {
  if (entry.work.kind !== "post") return { is: "gone" };
  if (entry.work.stage === "process") return posts.awaitImage(entry.work, caller);
  if (entry.work.stage === "remove") return posts.takeBack(entry, entry.work, caller);
  return posts.reserve(entry, entry.work, caller);
}

async function carryBytes(url: string, carrying: Carrying): Promise<Answer> {
  const { identity, signal, progress } = carrying;
  const bytes = await carrying.image();
  if (bytes === undefined) return { is: "failed", code: "unreadable", detail: "" };
  return uploads.send({ url, bytes, identity, signal, progress });
}

export interface Around {
  storage: Storage;
  carry: typeof carry;
  /** Who is signed in and may send; null for nobody. */
  signed: () => Signed | null;
  now: () => number;
  /** Milliseconds that an entry still waits (`waits.ts`). */
  remaining: Remaining;
  random: () => number;
  changed: () => void;
  progress: (id: number, sentBytes: number) => void;
  /** What became of an entry, for the person to read. */
  told: (entry: Entry, answer: Answer) => void;
  /** The service refused this credential. */
  signedOut: (identity: Identity) => Promise<void>;
}

/** A page looks again at least so often: browsers take a longer time than 2^31 ms for none at all. */
const MAX_TIMER_MS = 60_000;
/** By the page's time and the timer's, the end of a wait may differ by a fraction. */
const MIN_TIMER_MS = 10;

export class Sender {
  readonly #busy = new Map<number, { owner: string; controller: AbortController }>();
  /** Entries that this page has sent. */
  readonly #sent = new Set<number>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #stopped = false;

  constructor(readonly around: Around) {}

  /**
   * Starts all that is due, and looks again when something else will be. Each promise ends when what it
   * sends, and all that was due after it, has had its answer.
   */
  async advance(): Promise<Promise<void>[]> {
    const { storage, signed, remaining } = this.around;
    const entries = await storage.entries();
    const who = signed();
    if (this.#stopped || who === null) return [];
    const found = due(entries, who.user, remaining, new Set(this.#busy.keys()));
    const started = found.map((entry) => this.#send(entry, who.identity));
    this.#lookAgain(nextIn(entries, who.user, remaining));
    return started;
  }

  /** What a person did to an entry that is being sent ends the try. */
  interrupt(id: number): void {
    this.#busy.get(id)?.controller.abort();
  }

  /** Ends every attempt of another user than `user`. */
  interruptOthers(user: string | undefined): void {
    for (const { owner, controller } of this.#busy.values()) if (owner !== user) controller.abort();
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.interruptOthers(undefined);
  }

  #lookAgain(inMs: number | null): void {
    clearTimeout(this.#timer);
    if (inMs === null) return;
    const wait = Math.min(MAX_TIMER_MS, Math.max(MIN_TIMER_MS, inMs));
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
    this.around.changed();
    if (!this.#stopped) await Promise.all(await this.advance());
  }

  async #sendOnce(entry: Entry, identity: Identity, signal: AbortSignal): Promise<void> {
    const { storage, now, random, told, signedOut } = this.around;
    const sent = await storage.change(entry.id, (kept) => begun(kept, now(), this.#sent.has(kept.id)));
    if (sent === null || !isUnderWay(sent)) return;
    this.#sent.add(entry.id);
    this.around.changed();
    const answer = await this.around.carry(sent, {
      identity,
      signal,
      image: () => storage.image(entry.id),
      progress: (bytes) => this.around.progress(entry.id, bytes),
    });
    if (this.#stopped) return;
    if (answer.is === "signed out") await signedOut(identity);
    const moment = { now: now(), random: random() };
    await storage.change(entry.id, (kept) => answered(kept, sent, answer, moment));
    told(sent, answer);
  }
}
