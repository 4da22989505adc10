/**
 * What is kept on the device (IndexedDB), so that nothing made here is lost before the service has it.
 *
 *   entries   the queue, by `id`, in the order in which they were made (`queue.ts`)
 *   images    the bytes of an entry's image, by the entry's `id`
 *   session   who is signed in, under `me`; what signing in at an issuer needs, under `oidc.…`
 *
 * Each change is one transaction, durable before it is answered.
 */
import { type DBSchema, type IDBPDatabase, openDB } from "idb";
import type { Entry } from "./queue";

interface Kept extends DBSchema {
  entries: { key: number; value: Entry };
  images: { key: number; value: Blob };
  session: { key: string; value: unknown };
}

const VERSION = 1;
const DURABLE = { durability: "strict" } as const;

export class Storage {
  private constructor(readonly database: IDBPDatabase<Kept>) {}

  /** `name` tells services apart that share an origin. */
  static async open(name: string): Promise<Storage> {
    const database = await openDB<Kept>(name, VERSION, {
      upgrade(made) {
        made.createObjectStore("entries", { keyPath: "id", autoIncrement: true });
        made.createObjectStore("images");
        made.createObjectStore("session");
      },
      // A newer page in another tab wants to change what is kept.
      blocking: () => database.close(),
    });
    return new Storage(database);
  }

  entries(): Promise<Entry[]> {
    return this.database.getAll("entries");
  }

  /** Entry and image together, or neither. Raises `DOMException`: no room, or no longer readable. */
  async add(entry: Omit<Entry, "id">, image: Blob | null = null): Promise<number> {
    const change = this.database.transaction(["entries", "images"], "readwrite", DURABLE);
    try {
      const id = await change.objectStore("entries").add(entry as Entry);
      if (image !== null) await change.objectStore("images").put(image, id);
      await change.done;
      return id;
    } catch (error) {
      // Else what was asked for before the fault would be kept: an entry without its image.
      await abort(change);
      throw error;
    }
  }

  /** What `change` makes of an entry, if it is still there; null takes it and its image away. */
  async change(id: number, change: (entry: Entry) => Entry | null): Promise<Entry | null> {
    const transaction = this.database.transaction(["entries", "images"], "readwrite", DURABLE);
    const entries = transaction.objectStore("entries");
    const before = await entries.get(id);
    const after = before === undefined ? null : change(before);
    if (after === null) {
      await entries.delete(id);
      await transaction.objectStore("images").delete(id);
    } else {
      await entries.put(after);
    }
    await transaction.done;
    return after;
  }

  image(id: number): Promise<Blob | undefined> {
    return this.database.get("images", id);
  }

  async get<T>(name: string): Promise<T | undefined> {
    return (await this.database.get("session", name)) as T | undefined;
  }

  /** `undefined` takes it away. */
  async set(name: string, value: unknown): Promise<void> {
    const change = this.database.transaction("session", "readwrite", DURABLE);
    if (value === undefined) await change.store.delete(name);
    else await change.store.put(value, name);
    await change.done;
  }

  async names(): Promise<string[]> {
    return this.database.getAllKeys("session");
  }
}

async function abort(change: { abort(): void; done: Promise<void> }): Promise<void> {
  try {
    change.abort();
  } catch {
    // It has ended by itself.
  }
  await change.done.catch(() => undefined);
}
