/**
 * The queue of this device as the page sees it. All tabs show it and add to it; the one that holds the lock
 * sends (Web Locks: when that tab goes, however it goes, the next one gets it).
 */
import { computed, effect, signal } from "@preact/signals";
import * as feed from "./feed";
import * as me from "./me";
import { Memory } from "./memory";
import { type Answer, type Entry, hurried, insisted, newEntry, paused, removed, resumed, type Work } from "./queue";
import { carry, Sender } from "./sending";
import { DeviceStorage, type Storage } from "./storage";
import { waits } from "./waits";

export const entries = signal<Entry[]>([]);
/** Bytes that have arrived, by entry. */
export const progress = signal<Record<number, number>>({});
/** The last thing that became of an entry. */
export const outcome = signal<{ entry: Entry; answer: Answer } | null>(null);

/** The entries of the user who is signed in. */
export const waiting = computed(() => entries.value.filter((entry) => entry.owner === me.session.value?.user));

type News =
  | { is: "changed" }
  | { is: "session" }
  | { is: "interrupt"; id: number }
  | { is: "progress"; id: number; bytes: number }
  | { is: "told"; entry: Entry; answer: Answer };

/** The device's, and this page's for entries that the browser refuses to store. */
let storage: Storage;
let memory: Memory;
let channel: BroadcastChannel;
const senders: Sender[] = [];

/** `name` is of the service's queue on this device. */
export async function open(name: string, device: Storage): Promise<void> {
  storage = device;
  memory = device instanceof Memory ? device : new Memory();
  channel = new BroadcastChannel(name);
  channel.onmessage = (message: MessageEvent<News>) => void hear(message.data);
  me.departures.subscribe(() => {
    outcome.value = null;
    progress.value = {};
  });
  await me.restore(storage, sessionChanged);
  await refresh();
  addEventListener("online", () => void hurry());
  addEventListener("beforeunload", (event) => {
    if (waiting.peek().some(lastsAsPage)) event.preventDefault();
  });
  let user: string | undefined;
  effect(() => {
    const now = me.session.value?.user;
    if (now !== user) for (const sender of senders) sender.interruptOthers(now);
    user = now;
  });
  effect(() => {
    if (me.signed.value !== null) void advance();
  });
  lead(memory);
  if (storage !== memory) holdLock(name);
}

/** Whether an entry is in this page's memory alone. */
export function lastsAsPage(entry: Entry): boolean {
  return entry.id < 0;
}

function lead(from: Storage): void {
  senders.push(new Sender(around(from)));
  void advance();
}

async function advance(): Promise<void> {
  await Promise.all(senders.map((sender) => sender.advance()));
}

function holdLock(name: string): void {
  const hold = () => {
    lead(storage);
    if (storage instanceof DeviceStorage) void storage.removeOrphans();
    return new Promise<never>(() => undefined);
  };
  // Without locks (no secure context) every tab sends: idempotency keys then keep effects single.
  if (navigator.locks === undefined) void hold();
  else void navigator.locks.request(name, hold);
}

function around(from: Storage) {
  return {
    storage: from,
    carry,
    signed: () => me.signed.value,
    now: () => Date.now(),
    remaining: waits.remaining,
    random: () => Math.random(),
    changed: () => void announce(),
    progress: (id: number, bytes: number) => tell({ is: "progress", id, bytes }),
    told: (entry: Entry, answer: Answer) => tell({ is: "told", entry, answer }),
    signedOut: me.refused,
  };
}

/** To this tab and to the others, where they can have that entry. */
function tell(news: News): void {
  if (!("id" in news && news.id < 0)) channel.postMessage(news);
  void hear(news);
}

async function hear(news: News): Promise<void> {
  switch (news.is) {
    case "changed":
      await refresh();
      await advance();
      break;
    case "session":
      await me.reload();
      break;
    case "interrupt":
      for (const sender of senders) sender.interrupt(news.id);
      break;
    case "progress":
      progress.value = { ...progress.value, [news.id]: news.bytes };
      break;
    case "told":
      if (news.entry.owner !== me.session.value?.user) break;
      outcome.value = news;
      await feed.follow(news.entry, news.answer);
  }
}

async function refresh(): Promise<void> {
  entries.value = await allEntries();
}

async function allEntries(): Promise<Entry[]> {
  return storage === memory ? memory.entries() : [...(await storage.entries()), ...(await memory.entries())];
}

async function announce(): Promise<void> {
  channel.postMessage({ is: "changed" });
  await refresh();
}

async function announceAndAdvance(): Promise<void> {
  tell({ is: "changed" });
  await refresh();
}

function sessionChanged(): void {
  channel.postMessage({ is: "session" });
}

/** Keeps what a person made, as theirs. Raises `DOMException`: no room, or the file cannot be read. */
export async function add(work: Work, image: Blob | null = null): Promise<void> {
  const owner = me.session.value?.user;
  if (owner === undefined) throw new Error("nobody is signed in");
  void navigator.storage?.persist?.();
  const entry = newEntry(me.newId(), owner, work);
  try {
    await storage.add(entry, image);
  } catch (error) {
    const name = error instanceof DOMException ? error.name : "";
    if (/QuotaExceeded|NotReadable|NotFound/.test(name)) throw error;
    // The browser refuses to store this at all.
    await memory.add(entry, image);
  }
  await announceAndAdvance();
}

function storageOf(id: number): Storage {
  return id < 0 ? memory : storage;
}

export const image = (id: number): Promise<Blob | undefined> => storageOf(id).image(id);

async function change(id: number, how: (entry: Entry) => Entry | null): Promise<void> {
  await storageOf(id).change(id, how);
  tell({ is: "interrupt", id });
  await announceAndAdvance();
}

export const pause = (id: number): Promise<void> => change(id, paused);
export const resume = (id: number): Promise<void> => change(id, (entry) => resumed(entry, me.newId()));
export const insist = (id: number): Promise<void> => change(id, insisted);
export const remove = (id: number): Promise<void> => change(id, removed);

/** The network is back: nothing waits for its back-off. */
export async function hurry(): Promise<void> {
  for (const { id, state } of await allEntries()) {
    if (state.is === "retrying") await storageOf(id).change(id, hurried);
  }
  await announceAndAdvance();
}
