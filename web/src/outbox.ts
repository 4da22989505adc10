/**
 * The queue of this device as the page sees it. All tabs show it and add to it; the one that holds the lock
 * sends (Web Locks: when that tab goes, however it goes, the next one gets it).
 */
import { computed, effect, signal } from "@preact/signals";
import * as feed from "./feed";
import * as me from "./me";
import { type Answer, type Entry, hurried, insisted, newEntry, paused, removed, resumed, type Work } from "./queue";
import { carry, Sender } from "./sending";
import type { Storage } from "./storage";
import { waits } from "./waits";

export const entries = signal<Entry[]>([]);
/** Bytes that have arrived, by entry. */
export const progress = signal<Record<number, number>>({});
/** The last thing that became of an entry. */
export const outcome = signal<{ entry: Entry; answer: Answer } | null>(null);

/** Those of who is on, or of everybody if nobody is. */
export const waiting = computed(() => {
  const user = me.session.value?.user;
  return user === undefined ? entries.value : entries.value.filter((entry) => entry.owner === user);
});

type News =
  | { is: "changed" }
  | { is: "session" }
  | { is: "interrupt"; id: number }
  | { is: "progress"; id: number; bytes: number }
  | { is: "told"; entry: Entry; answer: Answer };

let storage: Storage;
let channel: BroadcastChannel;
let sender: Sender | null = null;

export async function open(kept: Storage): Promise<void> {
  storage = kept;
  channel = new BroadcastChannel(kept.database.name);
  channel.onmessage = (message: MessageEvent<News>) => void hear(message.data);
  await refresh();
  addEventListener("online", () => void hurry());
  let user: string | undefined;
  effect(() => {
    // Somebody signed in: here, which the other tabs are told, or there.
    const now = me.signed.value?.user;
    if (now === user) return;
    user = now;
    void sender?.advance();
  });
  holdLock(kept.database.name);
}

function holdLock(name: string): void {
  const lead = () => {
    sender = new Sender(around());
    void sender.advance();
    return new Promise<never>(() => undefined);
  };
  // Without locks (no secure context) every tab sends: idempotency keys then keep effects single.
  if (navigator.locks === undefined) void lead();
  else void navigator.locks.request(name, lead);
}

function around() {
  return {
    storage,
    carry,
    signed: () => me.signed.value,
    now: () => Date.now(),
    remaining: waits.remaining,
    random: () => Math.random(),
    changed: () => void announce(),
    progress: (id: number, bytes: number) => tell({ is: "progress", id, bytes }),
    told: (entry: Entry, answer: Answer) => tell({ is: "told", entry, answer }),
    signedOut: async () => {
      await me.expire();
      tell({ is: "session" });
    },
  };
}

/** To this tab and to the others. */
function tell(news: News): void {
  channel.postMessage(news);
  void hear(news);
}

async function hear(news: News): Promise<void> {
  switch (news.is) {
    case "changed":
      await refresh();
      await sender?.advance();
      break;
    case "session":
      await me.reload();
      await sender?.advance();
      break;
    case "interrupt":
      sender?.interrupt(news.id);
      break;
    case "progress":
      progress.value = { ...progress.value, [news.id]: news.bytes };
      break;
    case "told":
      outcome.value = news;
      await feed.follow(news.entry, news.answer);
  }
}

async function refresh(): Promise<void> {
  entries.value = await storage.entries();
}

async function announce(): Promise<void> {
  channel.postMessage({ is: "changed" });
  await refresh();
}

async function announceAndAdvance(): Promise<void> {
  tell({ is: "changed" });
  await refresh();
}

/** After somebody signed in or out here. */
export function sessionChanged(): void {
  channel.postMessage({ is: "session" });
  void sender?.advance();
}

/** Keeps what a person made, as theirs. Raises `DOMException`: no room, or the file cannot be read. */
export async function add(work: Work, image: Blob | null = null): Promise<void> {
  const owner = me.session.value?.user;
  if (owner === undefined) throw new Error("nobody is signed in");
  void navigator.storage?.persist?.();
  await storage.add(newEntry(newKey(), owner, work), image);
  await announceAndAdvance();
}

/** 128 random bits; `crypto.randomUUID` is there in secure contexts only. */
function newKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export const image = (id: number): Promise<Blob | undefined> => storage.image(id);

async function change(id: number, how: (entry: Entry) => Entry | null): Promise<void> {
  await storage.change(id, how);
  tell({ is: "interrupt", id });
  await announceAndAdvance();
}

export const pause = (id: number): Promise<void> => change(id, paused);
export const resume = (id: number): Promise<void> => change(id, (entry) => resumed(entry, newKey()));
export const insist = (id: number): Promise<void> => change(id, insisted);
export const remove = (id: number): Promise<void> => change(id, removed);

/** The network is back: nothing waits for its back-off. */
export async function hurry(): Promise<void> {
  for (const entry of await storage.entries()) {
    if (entry.state.is === "retrying") await storage.change(entry.id, hurried);
  }
  await announceAndAdvance();
}
