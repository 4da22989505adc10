import "fake-indexeddb/auto";
import { expect, test } from "vitest";
import { newEntry } from "../src/queue";
import { Storage } from "../src/storage";

const work = { kind: "comment", post: "a", content: "text" } as const;

test("an entry whose image cannot be kept is not kept either", async () => {
  const storage = await Storage.open("without room");
  const unreadable = (() => undefined) as unknown as Blob; // which cannot be cloned
  await expect(storage.add(newEntry("key", "alice", work), unreadable)).rejects.toThrow();
  expect(await storage.entries()).toEqual([]);
  expect(await storage.add(newEntry("key", "alice", work), new Blob(["x"]))).toBeGreaterThan(0);
});

test("what is taken away takes its image along, and a change of what is gone changes nothing", async () => {
  const storage = await Storage.open("taken away");
  const id = await storage.add(newEntry("key", "alice", work), new Blob(["x"]));
  await storage.change(id, () => null);
  expect(await storage.image(id)).toBeUndefined();
  expect(await storage.change(id, (entry) => entry)).toBeNull();
  expect(await storage.entries()).toEqual([]);
});

test("entries come in the order in which they were made, and who is on is remembered", async () => {
  const storage = await Storage.open("order");
  for (const key of ["b", "a", "c"]) await storage.add(newEntry(key, "alice", work));
  expect((await storage.entries()).map((entry) => entry.key)).toEqual(["b", "a", "c"]);
  await storage.set("me", { user: "alice" });
  expect(await storage.get("me")).toEqual({ user: "alice" });
  await storage.set("me", undefined);
  expect(await storage.names()).toEqual([]);
});
