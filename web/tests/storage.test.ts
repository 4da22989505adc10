import "fake-indexeddb/auto";
import { openDB } from "idb";
import { afterEach, describe, expect, test, vi } from "vitest";
import { newEntry } from "../src/queue";
import { Memory } from "../src/memory";
import { DeviceStorage, open, type Storage } from "../src/storage";

const work = { kind: "comment", post: "a", content: "text" } as const;

test("an entry whose image cannot be kept is not kept either", async () => {
  const storage = await DeviceStorage.open("without room");
  const unreadable = new Blob(["x".repeat(3_000_000)]);
  const slice = unreadable.slice.bind(unreadable);
  unreadable.slice = (start, end) => {
    if (start !== 0) throw new DOMException("the file has changed", "NotReadableError");
    return slice(start, end);
  };
  await expect(storage.add(newEntry("key", "alice", work), unreadable)).rejects.toThrow();
  expect([await storage.entries(), await everything(storage)]).toEqual([[], []]);
  expect(await storage.add(newEntry("key", "alice", work), new Blob(["x"]))).toBeGreaterThan(0);
});

test("what is taken away takes its image along, and a change of what is gone changes nothing", async () => {
  const storage = await DeviceStorage.open("taken away");
  const id = await storage.add(newEntry("key", "alice", work), new Blob(["x"]));
  await storage.change(id, () => null);
  expect(await storage.image(id)).toBeUndefined();
  expect(await storage.change(id, (entry) => entry)).toBeNull();
  expect(await storage.entries()).toEqual([]);
});

test("entries come in the order in which they were made, and who is on is remembered", async () => {
  const storage = await DeviceStorage.open("order");
  for (const key of ["b", "a", "c"]) await storage.add(newEntry(key, "alice", work));
  expect((await storage.entries()).map((entry) => entry.key)).toEqual(["b", "a", "c"]);
  await storage.set("me", { user: "alice" });
  expect(await storage.get("me")).toEqual({ user: "alice" });
  await storage.set("me", undefined);
  expect(await storage.names()).toEqual([]);
});

const everything = (storage: DeviceStorage) => storage.database.getAllKeys("images");

describe("an image is stored as pieces that every engine accepts", () => {
  afterEach(() => vi.restoreAllMocks());
  const bytes = Uint8Array.from({ length: 2_500_000 }, (_, index) => (index * 7) % 251);
  const image = new Blob([bytes], { type: "image/png" });

  test("where a Blob is refused, as in private windows of WebKit", async () => {
    const put = IDBObjectStore.prototype.put;
    vi.spyOn(IDBObjectStore.prototype, "put").mockImplementation(function (this: IDBObjectStore, value, key) {
      if (value instanceof Blob) throw new DOMException("no Blob here", "DataCloneError");
      return put.call(this, value, key);
    });
    const storage = await DeviceStorage.open("private");
    const id = await storage.add(newEntry("key", "alice", work), image);
    const stored = await storage.image(id);
    expect(stored?.type).toBe("image/png");
    expect(Buffer.compare(Buffer.from((await stored?.arrayBuffer()) ?? new ArrayBuffer()), bytes)).toBe(0);
    expect(await everything(storage)).toEqual([id, ["key", 0], ["key", 1], ["key", 2]]);
    await storage.change(id, () => null);
    expect(await everything(storage)).toEqual([]);
  });

  test("pieces of an image whose page ended in mid-image are removed, and no others", async () => {
    const storage = await DeviceStorage.open("orphans");
    vi.stubGlobal("navigator", { locks: { request: (_: string, __: object, act: () => unknown) => act() } });
    await storage.database.put("images", new ArrayBuffer(3), ["crashed", 0]);
    const id = await storage.add(newEntry("key", "alice", work), new Blob(["abc"]));
    await storage.removeOrphans();
    vi.unstubAllGlobals();
    expect(await everything(storage)).toEqual([id, ["key", 0]]);
    expect(await (await storage.image(id))?.text()).toBe("abc");
  });

  test("an entry of a former version of the page, with its Blob, is still there", async () => {
    const former = await openDB("former", 1, {
      upgrade(database) {
        database.createObjectStore("entries", { keyPath: "id", autoIncrement: true });
        database.createObjectStore("images");
        database.createObjectStore("session");
      },
    });
    const id = Number(await former.add("entries", newEntry("key", "alice", work)));
    await former.put("images", new Blob(["as it was"], { type: "image/gif" }), id);
    former.close();
    const storage = await DeviceStorage.open("former");
    expect((await storage.entries()).map((entry) => entry.id)).toEqual([id]);
    const stored = await storage.image(id);
    expect([await stored?.text(), stored?.type]).toEqual(["as it was", "image/gif"]);
    await storage.removeOrphans();
    await storage.change(id, () => null);
    expect(await everything(storage)).toEqual([]);
  });
});

test("where the browser stores nothing, the queue lasts as long as the page", async () => {
  vi.spyOn(indexedDB, "open").mockImplementation(() => {
    throw new DOMException("denied", "SecurityError");
  });
  const storage: Storage = await open("denied");
  vi.restoreAllMocks();
  expect(storage).toBeInstanceOf(Memory);
  const id = await storage.add(newEntry("key", "alice", work), new Blob(["x"]));
  expect(id).toBeLessThan(0);
  expect(await (await storage.image(id))?.text()).toBe("x");
  expect((await storage.entries()).map((entry) => entry.key)).toEqual(["key"]);
  expect((await storage.change(id, (entry) => ({ ...entry, tries: 3 })))?.tries).toBe(3);
  expect(await storage.change(id, () => null)).toBeNull();
  expect([await storage.image(id), await storage.entries()]).toEqual([undefined, []]);
});

test("a value is compared and replaced in one step", async () => {
  for (const storage of [await DeviceStorage.open("steps"), new Memory()]) {
    await storage.set("me", 1);
    const raise = (stored: number | undefined) => (stored === undefined ? undefined : stored + 1);
    expect(await Promise.all([storage.update("me", raise), storage.update("me", raise)])).toEqual([2, 3]);
    await storage.set("me", undefined);
    expect(await storage.update("me", raise)).toBeUndefined();
    expect(await storage.names()).toEqual([]);
  }
});
