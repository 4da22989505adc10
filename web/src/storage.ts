/**
 * Data on the device (IndexedDB), so that no work is lost before the service has it.
 *
 *   entries   the queue, by `id`, in the order of creation (`queue.ts`)
 *   images    by an entry's `id`: the list of the pieces of its image (former versions: a `Blob`);
 *             by [name, number]: the pieces, as `ArrayBuffer`, which private windows of WebKit store too
 *   session   the signed-in user, under `me`; the state of signing in at an issuer, under `oidc.…`
 *
 * Each change is one transaction, durable before its promise resolves. Pieces are written before their entry,
 * each in one transaction, so that a large image is never whole in memory.
 */
import { type DBSchema, type IDBPDatabase, openDB } from "idb";
import { Memory } from "./memory";
import type { Entry } from "./queue";

interface Pieces {
  name: string;
  count: number;
  type: string;
}
type PieceKey = [name: string, number: number];

interface Schema extends DBSchema {
  entries: { key: number; value: Entry };
  images: { key: number | PieceKey; value: Blob | Pieces | ArrayBuffer };
  session: { key: string; value: unknown };
}

const VERSION = 1;
const DURABLE = { durability: "strict" } as const;
const PIECE_BYTES = 1024 * 1024;

/** The queue and the session of this device. */
export interface Storage {
  entries(): Promise<Entry[]>;
  /** Stores entry and image, or neither. Raises `DOMException`: no free space, or an unreadable image. */
  add(entry: Omit<Entry, "id">, image?: Blob | null): Promise<number>;
  /** Replaces an entry by the result of `change`, if the entry exists; null removes it and its image. */
  change(id: number, change: (entry: Entry) => Entry | null): Promise<Entry | null>;
  image(id: number): Promise<Blob | undefined>;
  get<T>(name: string): Promise<T | undefined>;
  /** Stores a value; `undefined` removes it. */
  set(name: string, value: unknown): Promise<void>;
  /** Replaces the present value by the result of `change`, in one transaction. Returns the new value. */
  update<T>(name: string, change: (value: T | undefined) => T | undefined): Promise<T | undefined>;
  names(): Promise<string[]>;
}

/** Opens the storage: memory, if the browser stores nothing. Services on one origin have different names. */
export async function open(name: string): Promise<Storage> {
  try {
    return await DeviceStorage.open(name);
  } catch {
    return new Memory();
  }
}

export class DeviceStorage implements Storage {
  private constructor(readonly database: IDBPDatabase<Schema>) {}

  static async open(name: string): Promise<DeviceStorage> {
    const database = await openDB<Schema>(name, VERSION, {
      upgrade(database) {
        database.createObjectStore("entries", { keyPath: "id", autoIncrement: true });
        database.createObjectStore("images");
        database.createObjectStore("session");
      },
      // A newer page in another tab upgrades the database.
      blocking: () => database.close(),
    });
    return new DeviceStorage(database);
  }

  entries(): Promise<Entry[]> {
    return this.database.getAll("entries");
  }

  async add(entry: Omit<Entry, "id">, image: Blob | null = null): Promise<number> {
    // The tab that removes pieces without an entry waits for this.
    return whileAdding(this.database.name, "shared", async () => {
      const pieces = image === null ? null : await this.#addPieces(entry.key, image);
      const change = this.database.transaction(["entries", "images"], "readwrite", DURABLE);
      try {
        const id = await change.objectStore("entries").add(entry as Entry);
        if (pieces !== null) await change.objectStore("images").put(pieces, id);
        await change.done;
        return id;
      } catch (error) {
        await abort(change);
        if (pieces !== null) await this.#removePieces(pieces.name);
        throw error;
      }
    });
  }

  async #addPieces(name: string, image: Blob): Promise<Pieces> {
    let count = 0;
    try {
      for (let start = 0; start < image.size; start += PIECE_BYTES) {
        const bytes = await image.slice(start, start + PIECE_BYTES).arrayBuffer();
        await this.database.put("images", bytes, [name, count]);
        count += 1;
      }
    } catch (error) {
      await this.#removePieces(name);
      throw error;
    }
    return { name, count, type: image.type };
  }

  async #removePieces(name: string): Promise<void> {
    await this.database.delete("images", IDBKeyRange.bound([name], [name, Infinity])).catch(() => undefined);
  }

  /** Removes the pieces of images that a page had not stored completely when it ended. */
  async removeOrphans(): Promise<void> {
    if (!hasLocks()) return;
    await whileAdding(this.database.name, "exclusive", async () => {
      const images = this.database.transaction("images", "readwrite").store;
      const names = new Set<string>();
      for (const image of await images.getAll(IDBKeyRange.bound(-Infinity, Infinity))) {
        if (isPieces(image)) names.add(image.name);
      }
      for (const key of await images.getAllKeys(IDBKeyRange.lowerBound([]))) {
        if (Array.isArray(key) && !names.has(key[0])) await images.delete(key);
      }
    });
  }

  async change(id: number, change: (entry: Entry) => Entry | null): Promise<Entry | null> {
    const transaction = this.database.transaction(["entries", "images"], "readwrite", DURABLE);
    const entries = transaction.objectStore("entries");
    const before = await entries.get(id);
    const after = before === undefined ? null : change(before);
    if (after === null) {
      const images = transaction.objectStore("images");
      const image = await images.get(id);
      if (isPieces(image)) await images.delete(IDBKeyRange.bound([image.name], [image.name, Infinity]));
      await images.delete(id);
      await entries.delete(id);
    } else {
      await entries.put(after);
    }
    await transaction.done;
    return after;
  }

  async image(id: number): Promise<Blob | undefined> {
    const image = await this.database.get("images", id);
    if (!isPieces(image)) return image as Blob | undefined;
    const blobs: Blob[] = [];
    for (let number = 0; number < image.count; number += 1) {
      const bytes = await this.database.get("images", [image.name, number]);
      if (bytes === undefined) return undefined;
      // The browser may move a Blob out of this page's memory.
      blobs.push(new Blob([bytes as ArrayBuffer]));
    }
    return new Blob(blobs, { type: image.type });
  }

  async get<T>(name: string): Promise<T | undefined> {
    return (await this.database.get("session", name)) as T | undefined;
  }

  async set(name: string, value: unknown): Promise<void> {
    await this.update(name, () => value);
  }

  async update<T>(name: string, change: (value: T | undefined) => T | undefined): Promise<T | undefined> {
    const transaction = this.database.transaction("session", "readwrite", DURABLE);
    const value = change((await transaction.store.get(name)) as T | undefined);
    if (value === undefined) await transaction.store.delete(name);
    else await transaction.store.put(value, name);
    await transaction.done;
    return value;
  }

  async names(): Promise<string[]> {
    return this.database.getAllKeys("session");
  }
}

function isPieces(image: Blob | Pieces | ArrayBuffer | undefined): image is Pieces {
  return image !== undefined && "count" in image;
}

/** Only secure contexts have locks. Without locks, a page that ends while it stores an image leaves pieces. */
function hasLocks(): boolean {
  return globalThis.navigator?.locks !== undefined;
}

async function whileAdding<T>(name: string, mode: "shared" | "exclusive", task: () => Promise<T>): Promise<T> {
  if (!hasLocks()) return task();
  return navigator.locks.request(`${name} adding`, { mode }, task) as Promise<T>;
}

async function abort(change: { abort(): void; done: Promise<void> }): Promise<void> {
  try {
    change.abort();
  } catch {
    // The transaction has ended already.
  }
  await change.done.catch(() => undefined);
}
