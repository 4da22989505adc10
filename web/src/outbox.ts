/**
 * The queue of this device. All tabs show it and add to it. The tab that holds the lock (Web Locks) sends the stored
 * entries. When that tab ends in any way, another tab gets the lock.
 */
import { computed, effect, signal } from "@preact/signals";
import * as blocks from "./blocks";
import * as feed from "./feed";
import * as me from "./me";
import { Memory } from "./memory";
import { type Answer, type Entry, endBackOff, overrideTheirs, newEntry, pauseEntry, removeEntry, resumeEntry } from "./queue";
import type { Work } from "./works";
import { sendEntry, Sender } from "./sending";
import { DeviceStorage, type Storage } from "./storage";
import { waits } from "./waits";

export const entries = signal<Entry[]>([]);
/** Bytes that have arrived, by the id of the entry. */
export const progress = signal<Record<number, number>>({});
/** The last answer for an entry. */
export const outcome = signal<{ entry: Entry; answer: Answer } | null>(null);

/** The entries of the user who is signed in. */
export const ownEntries = computed(() => entries.value.filter((entry) => entry.owner === me.session.value?.user));

type TabMessage =
  | { is: "changed" }
  | { is: "session" }
  | { is: "interrupt"; id: number }
  | { is: "progress"; id: number; bytes: number }
  | { is: "told"; entry: Entry; answer: Answer };

/** The storage of the device, and that of this page for entries that the browser refuses to store. */
let storage: Storage;
let memory: Memory;
let channel: BroadcastChannel;
const senders: Sender[] = [];

/** Opens the queue of a service on this device, by its `name`. */
export async function open(name: string, device: Storage): Promise<void> {
  storage = device;
  memory = device instanceof Memory ? device : new Memory();
  channel = new BroadcastChannel(name);
  channel.onmessage = (message: MessageEvent<TabMessage>) => void receive(message.data);
  me.sessionEnds.subscribe(() => {
    outcome.value = null;
    progress.value = {};
  });
  await me.restore(storage, announceSession);
  await blocks.restore(storage);
  await refresh();
  addEventListener("online", () => void endBackOffs());
  addEventListener("beforeunload", (event) => {
    if (ownEntries.peek().some(isInMemoryOnly)) event.preventDefault();
  });
  let user: string | undefined;
  effect(() => {
    const current = me.session.value?.user;
    if (current !== user) for (const sender of senders) sender.interruptOthers(current);
    user = current;
  });
  effect(() => {
    if (me.sendingUser.value !== null) void advance();
  });
  startSender(memory);
  if (storage !== memory) sendWithLock(name);
}

/** True for an entry that is only in this page's memory. */
export function isInMemoryOnly(entry: Entry): boolean {
  return entry.id < 0;
}

function startSender(entryStorage: Storage): void {
  senders.push(new Sender(senderHost(entryStorage)));
  void advance();
}

async function advance(): Promise<void> {
  await Promise.all(senders.map((sender) => sender.advance()));
}

function sendWithLock(name: string): void {
  const sendUntilClosed = () => {
    startSender(storage);
    if (storage instanceof DeviceStorage) void storage.removeOrphans();
    return new Promise<never>(() => undefined);
  };
  // Without locks (no secure context) every tab sends; idempotency keys then prevent double effects.
  if (navigator.locks === undefined) void sendUntilClosed();
  else void navigator.locks.request(name, sendUntilClosed);
}

function senderHost(entryStorage: Storage) {
  return {
    storage: entryStorage,
    sendEntry,
    sendingUser: () => me.sendingUser.value,
    now: () => Date.now(),
    remaining: waits.remaining,
    random: () => Math.random(),
    notifyChange: () => void announceChange(),
    progress: (id: number, bytes: number) => broadcast({ is: "progress", id, bytes }),
    reportAnswer: (entry: Entry, answer: Answer) => broadcast({ is: "told", entry, answer }),
    rejectCredential: me.rejectCredential,
  };
}

/** Sends a message to this tab, and to the other tabs unless only this tab has the entry. */
function broadcast(message: TabMessage): void {
  if (!("id" in message && message.id < 0)) channel.postMessage(message);
  void receive(message);
}

async function receive(message: TabMessage): Promise<void> {
  switch (message.is) {
    case "changed":
      await refresh();
      await advance();
      break;
    case "session":
      await me.reload();
      break;
    case "interrupt":
      for (const sender of senders) sender.interrupt(message.id);
      break;
    case "progress":
      progress.value = { ...progress.value, [message.id]: message.bytes };
      break;
    case "told":
      if (message.entry.owner !== me.session.value?.user) break;
      outcome.value = message;
      await feed.showAnswer(message.entry, message.answer);
  }
}

async function refresh(): Promise<void> {
  entries.value = await allEntries();
}

async function allEntries(): Promise<Entry[]> {
  return storage === memory ? memory.entries() : [...(await storage.entries()), ...(await memory.entries())];
}

/** Tells the other tabs of a change by a sender of this tab, which goes on by itself. */
async function announceChange(): Promise<void> {
  channel.postMessage({ is: "changed" });
  await refresh();
}

/** Tells all tabs of a change by the user, and lets the senders of every tab continue. */
async function announceAndAdvance(): Promise<void> {
  broadcast({ is: "changed" });
  await refresh();
}

function announceSession(): void {
  channel.postMessage({ is: "session" });
}

/** Stores work of the current user. Raises `DOMException`: no free space, or the file cannot be read. */
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
    // The browser refuses to store this.
    await memory.add(entry, image);
  }
  await announceAndAdvance();
}

function storageOf(id: number): Storage {
  return id < 0 ? memory : storage;
}

export const image = (id: number): Promise<Blob | undefined> => storageOf(id).image(id);

async function change(id: number, update: (entry: Entry) => Entry | null): Promise<void> {
  await storageOf(id).change(id, update);
  broadcast({ is: "interrupt", id });
  await announceAndAdvance();
}

export const pause = (id: number): Promise<void> => change(id, pauseEntry);
export const resume = (id: number): Promise<void> => change(id, (entry) => resumeEntry(entry, me.newId()));
export const useMine = (id: number): Promise<void> => change(id, overrideTheirs);
export const remove = (id: number): Promise<void> => change(id, removeEntry);

/** Removes all entries of a user from this device, with their images. */
export async function removeAllOf(owner: string): Promise<void> {
  for (const { id, owner: entryOwner } of await allEntries()) if (entryOwner === owner) await change(id, () => null);
}

/** Ends the back-off of all entries, when the network is back. */
export async function endBackOffs(): Promise<void> {
  for (const { id, state } of await allEntries()) {
    if (state.is === "retrying") await storageOf(id).change(id, endBackOff);
  }
  await announceAndAdvance();
}
