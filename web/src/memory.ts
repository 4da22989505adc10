/**
 * The queue and the session in the page's memory, for browsers that refuse to store them. Entries have ids
 * below zero, so that none equals the id of a stored entry.
 */
import type { Entry } from "./queue";
import type { Storage } from "./storage";

export class Memory implements Storage {
  readonly #entries = new Map<number, Entry>();
  readonly #images = new Map<number, Blob>();
  readonly #session = new Map<string, unknown>();
  #last = 0;

  entries(): Promise<Entry[]> {
    return Promise.resolve([...this.#entries.values()]);
  }

  add(entry: Omit<Entry, "id">, image: Blob | null = null): Promise<number> {
    const id = (this.#last -= 1);
    this.#entries.set(id, { ...entry, id });
    if (image !== null) this.#images.set(id, image);
    return Promise.resolve(id);
  }

  change(id: number, change: (entry: Entry) => Entry | null): Promise<Entry | null> {
    const before = this.#entries.get(id);
    const after = before === undefined ? null : change(before);
    if (after !== null) {
      this.#entries.set(id, after);
    } else {
      this.#entries.delete(id);
      this.#images.delete(id);
    }
    return Promise.resolve(after);
  }

  image(id: number): Promise<Blob | undefined> {
    return Promise.resolve(this.#images.get(id));
  }

  get<T>(name: string): Promise<T | undefined> {
    return Promise.resolve(this.#session.get(name) as T | undefined);
  }

  async set(name: string, value: unknown): Promise<void> {
    await this.update(name, () => value);
  }

  update<T>(name: string, change: (value: T | undefined) => T | undefined): Promise<T | undefined> {
    const value = change(this.#session.get(name) as T | undefined);
    if (value === undefined) this.#session.delete(name);
    else this.#session.set(name, value);
    return Promise.resolve(value);
  }

  names(): Promise<string[]> {
    return Promise.resolve([...this.#session.keys()]);
  }
}
