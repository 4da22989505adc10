/**
 * Any order of what can go wrong ends in exactly one effect of each thing that a person did. The queue, its
 * storage and its sender are the real ones; the service and the network are `service.ts`.
 */
import "fake-indexeddb/auto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { applyAnswer, startSending, type Entry, endBackOff, overrideTheirs, newEntry, nextWaitMs, pauseEntry, remainingMs, removeEntry, RESENDABLE_MS, resumeEntry } from "../src/queue";
import type { Work } from "../src/works";
import { sendEntry, type SendContext, Sender } from "../src/sending";
import { DeviceStorage, type Storage } from "../src/storage";
import { type Fault, FAULTS, Service } from "./service";

// CI is reproducible; at one's desk there are new examples each time.
if (process.env["CI"]) fc.configureGlobal({ seed: 20261125 });

const ALICE = { user: "alice", identity: { mode: "jwt", credential: "token" } } as const;
const MAX_ROUNDS = 400;
let databases = 0;

/** A phone: what it keeps survives its crashes; who is signed in, and the clock, are the test's. */
class Phone {
  now = 1_800_000_000_000;
  expired = false;
  sender!: Sender;
  #crash!: Promise<void>;
  #crashed = false;

  private constructor(
    readonly storage: Storage,
    readonly service: Service,
  ) {}

  static async of(service: Service): Promise<Phone> {
    globalThis.fetch = service.fetch as typeof fetch;
    const phone = new Phone(await DeviceStorage.open(`phone ${(databases += 1)}`), service);
    phone.start();
    return phone;
  }

  start(): void {
    this.#crashed = false;
    this.#crash = new Promise((resolve) => {
      this.service.onCrash = () => {
        this.#crashed = true;
        resolve();
      };
    });
    this.sender = new Sender({
      storage: this.storage,
      sendEntry: (entry, carrying) => this.#carry(entry, carrying),
      sendingUser: () => (this.expired ? null : ALICE),
      now: () => this.now,
      remaining: (entry) => remainingMs(entry, this.now),
      random: () => 0.5,
      notifyChange: () => undefined,
      progress: () => undefined,
      reportAnswer: () => undefined,
      rejectCredential: () => {
        this.expired = true;
        return Promise.resolve();
      },
    });
  }

  #carry(entry: Entry, carrying: SendContext): ReturnType<typeof sendEntry> {
    const isBytes = entry.work.kind === "post" && entry.work.stage === "upload";
    return isBytes ? this.service.receive(entry, carrying) : sendEntry(entry, carrying);
  }

  async make(...works: Work[]): Promise<void> {
    for (const [index, work] of works.entries()) {
      const image = work.kind === "post" ? new Blob(["x".repeat(work.image.size)]) : null;
      await this.storage.add(newEntry(`key ${index}`, "alice", work), image);
    }
  }

  /** Until nothing moves by itself. A crash is followed by another start; a token that ran out, by another. */
  async run(decide: (entry: Entry) => Entry | null = (entry) => entry): Promise<void> {
    for (let round = 0; round < MAX_ROUNDS; round += 1) {
      await this.#round();
      for (const entry of await this.storage.entries()) {
        if (entry.state.is === "asking") await this.storage.change(entry.id, decide);
      }
      const entries = await this.storage.entries();
      if (entries.every((entry) => entry.state.is === "paused" || entry.state.is === "failed")) return this.sender.stop();
      this.now += nextWaitMs(entries, "alice", (entry) => remainingMs(entry, this.now)) ?? 0;
    }
    throw new Error(`it never ends: ${JSON.stringify(await this.storage.entries())}`);
  }

  async #round(): Promise<void> {
    await Promise.race([this.sender.advance().then((started) => Promise.all(started)), this.#crash]);
    if (this.#crashed) {
      this.sender.stop();
      this.start();
    }
    this.expired = false;
  }
}

const post = (name: string, size = 10): Work => ({
  kind: "post",
  caption: name,
  alt: "",
  image: { name, type: "image/jpeg", size },
  stage: "reserve",
  post: null,
  tus: null,
});
const comment = (content: string): Work => ({ kind: "comment", post: "old", content });
const editPost = (caption: string, from: string): Work => ({
  kind: "edit post",
  post: "old",
  caption,
  alt: "",
  base: { caption: from, alt: "" },
});
const editComment = (content: string, from: string): Work => ({
  kind: "edit comment",
  post: "old",
  comment: "written",
  content,
  base: { content: from },
});

function createService(faults: Fault[]): Service {
  const service = new Service(faults);
  const ready = { status: "ready", alt: "", size: 10, received: 10, edits: 0 } as const;
  service.posts.set("old", { ...ready, caption: "before" });
  service.posts.set("unwanted", { ...ready, caption: "to be deleted" });
  service.comments.set("written", { post: "old", content: "before", edits: 0 });
  service.comments.set("unwanted", { post: "old", content: "to be deleted", edits: 0 });
  return service;
}

const faults = (...more: Fault[]) => fc.array(fc.constantFrom(...FAULTS, ...more), { maxLength: 40 });
const decision = (action: "hide" | "restore"): Work => ({
  kind: "decision",
  subject: { post: "old", comment: null },
  action,
  reason: action === "hide" ? "spam" : null,
  text: "",
  until: null,
  blockImage: false,
});
const everything = (): Work[] => [
  post("one"),
  comment("first"),
  editPost("after", "before"),
  post("two", 3),
  comment("second"),
  editComment("after", "before"),
  { kind: "delete post", post: "unwanted" },
  editPost("after that", "after"),
  { kind: "delete comment", post: "old", comment: "unwanted" },
  { kind: "report", post: "old", comment: null, reason: "spam", text: "a report" },
  { kind: "block", user: "dave" },
  { kind: "block", user: "erin" },
  { kind: "unblock", user: "dave" },
  { kind: "appeal", decision: "one", text: "an appeal" },
  decision("hide"),
  decision("restore"),
];

describe("what the service put off", () => {
  const moment = { now: 1000, random: 0 };
  const waiting = { ...newEntry("key", "alice", { kind: "comment", post: "old", content: "x" }), id: 1 };

  test("says why, and waits as long as was said, though the network comes back", async () => {
    globalThis.fetch = createService(["too many"]).fetch as typeof fetch;
    const answer = await sendEntry(waiting, {
      identity: ALICE.identity,
      image: () => Promise.resolve(undefined),
      signal: new AbortController().signal,
      progress: () => undefined,
    });
    const after = applyAnswer(waiting, waiting, answer, moment);
    expect(after?.state).toEqual({ is: "retrying", at: 8100, waitMs: 7100, why: "rate_limited" });
    expect(endBackOff(after ?? waiting)).toEqual(after);
  });

  test("is bounded by an hour, whatever a gateway says", () => {
    const after = applyAnswer(waiting, waiting, { is: "try again", afterMs: 1e12, why: "busy" }, moment);
    expect(after?.state).toMatchObject({ waitMs: 3_600_100 });
  });

  test("is another thing than a connection that broke, which is tried again as soon as there is one", () => {
    const after = applyAnswer(waiting, waiting, { is: "try again", afterMs: null }, moment);
    expect(after?.state.is).toBe("retrying");
    expect(endBackOff(after ?? waiting).state).toEqual({ is: "waiting" });
  });
});

describe("back-off", () => {
  const uploading = { ...newEntry("key", "alice", post("one")), id: 1, tries: 7 };
  const moment = { now: 0, random: 1 };

  test.each(["try again", "out of step"] as const)("begins anew after an attempt that moved the offset (%s)", (is) => {
    const answer = is === "try again" ? { is, afterMs: null } : { is };
    expect(applyAnswer(uploading, uploading, { ...answer, progress: false }, moment)).toMatchObject({ tries: 8, state: { waitMs: 30_000 } });
    const after = applyAnswer(uploading, uploading, { ...answer, progress: true }, moment);
    expect(after?.tries).toBe(1);
    expect(remainingMs(after ?? uploading, 0)).toBeLessThanOrEqual(1000);
  });
});

describe("any order of offline, crashes, lost answers, 401, 409, 412, 429 and 5xx", () => {
  test("ends in exactly one effect of each thing that was done", async () => {
    await fc.assert(
      fc.asyncProperty(faults(), async (faultList) => {
        const service = createService([...faultList]);
        const phone = await Phone.of(service);
        await phone.make(...everything());
        await phone.run();
        expect(await phone.storage.entries()).toEqual([]);
        expect([...service.posts.values()].map((post) => [post.caption, post.status, post.received]).sort()).toEqual([
          ["after that", "ready", 10],
          ["one", "ready", 10],
          ["two", "ready", 3],
        ]);
        expect([...service.comments.values()].map((comment) => comment.content)).toEqual(["after", "first", "second"]);
        expect(service.posts.get("old")?.edits).toBe(2);
        expect(service.comments.get("written")?.edits).toBe(1);
        expect([service.reports, service.appeals]).toEqual([["a report"], ["an appeal"]]);
        expect([...service.blocks]).toEqual(["erin"]);
        expect(service.decisions).toEqual(["hide", "restore"]);
      }),
      { numRuns: Number(process.env["RUNS"] ?? 150) },
    );
  });

  test("with somebody else's edits in between, the person decides, and what they decide is what is there", async () => {
    await fc.assert(
      fc.asyncProperty(faults("other edit", "other edit"), fc.boolean(), async (faultList, insist) => {
        const service = createService([...faultList]);
        const phone = await Phone.of(service);
        await phone.make(editPost("mine", "before"), editComment("mine", "before"));
        let conflicts = 0;
        await phone.run((entry) => {
          conflicts += 1;
          return insist ? overrideTheirs(entry) : null;
        });
        const texts = [service.posts.get("old")?.caption, service.comments.get("written")?.content];
        const others = faultList.includes("other edit");
        if (!others) expect(conflicts).toBe(0);
        // An edit that comes after ours has been answered is no conflict: it is simply the next one.
        for (const text of texts) expect(text === "mine" || others).toBe(true);
        if (insist && conflicts === 0 && !others) expect(texts).toEqual(["mine", "mine"]);
      }),
      { numRuns: Number(process.env["RUNS"] ?? 100) },
    );
  });

  test("what is removed while it is sent is nowhere afterwards", async () => {
    await fc.assert(
      fc.asyncProperty(faults(), fc.nat(12), async (faultList, after) => {
        const service = createService([...faultList]);
        const phone = await Phone.of(service);
        await phone.make(post("regretted"), post("kept"));
        let left = after;
        let isRemoved = false;
        const answer = service.fetch;
        globalThis.fetch = async (...request) => {
          if ((left -= 1) === 0) {
            isRemoved = (await phone.storage.entries()).some((entry) => entry.id === 1);
            await phone.storage.change(1, removeEntry);
          }
          return answer(...request);
        };
        await phone.run();
        const names = [...service.posts.values()].map((post) => post.caption);
        expect(names.filter((name) => name === "kept")).toHaveLength(1);
        expect(names.filter((name) => name === "regretted")).toHaveLength(isRemoved ? 0 : 1);
        expect(await phone.storage.entries()).toEqual([]);
      }),
      { numRuns: Number(process.env["RUNS"] ?? 100) },
    );
  });
});

describe("what only a person may decide", () => {
  test("what was first sent over six days ago is not sent again by itself", async () => {
    const service = createService(["lost answer"]);
    const phone = await Phone.of(service);
    await phone.make(comment("late"));
    await Promise.all(await phone.sender.advance());
    phone.now += RESENDABLE_MS + 60_000;
    let entryInQuestion: Entry | null = null;
    await phone.run((entry) => {
      entryInQuestion = entry;
      return null;
    });
    expect(entryInQuestion).toMatchObject({ state: { is: "asking", why: "old" } });
    expect(service.comments.size).toBe(3);
  });

  test("a clock that was set back does not make young what this page did not send itself", () => {
    const now = 1_800_000_000_000;
    const entry = { ...newEntry("key", "alice", comment("x")), id: 1, firstSentAt: now + 365 * 86_400_000 };
    expect(startSending(entry, now).state).toEqual({ is: "asking", why: "old" });
    expect(startSending(entry, now, true)).toEqual({ ...entry, firstSentAt: now });
    // Some hours are what a clock may differ by; the slack between 6 and 7 days covers them.
    expect(startSending({ ...entry, firstSentAt: now + 3_600_000 }, now)).toEqual({ ...entry, firstSentAt: now });
  });

  test("an edit that met another one shows theirs, and mine replaces it only when told to", async () => {
    const service = createService(["other edit"]);
    const phone = await Phone.of(service);
    await phone.make(editPost("mine", "before"));
    await Promise.all(await phone.sender.advance());
    const [entry] = await phone.storage.entries();
    expect(entry?.state).toMatchObject({ is: "asking", theirs: { caption: "somebody's 1" } });
    expect(service.posts.get("old")?.caption).toBe("somebody's 1");
    await phone.run(overrideTheirs);
    expect(service.posts.get("old")?.caption).toBe("mine");
  });

  test("nobody sends what somebody else made", async () => {
    const service = createService([]);
    const phone = await Phone.of(service);
    await phone.storage.add(newEntry("key", "bob", comment("bob's")));
    expect(await phone.sender.advance()).toEqual([]);
    expect(service.comments.size).toBe(2);
    phone.sender.stop();
  });

  test("a pause holds, and what goes on goes on where it was", async () => {
    const service = createService([]);
    const phone = await Phone.of(service);
    await phone.make(post("one"));
    await phone.storage.change(1, pauseEntry);
    await phone.run();
    expect(service.posts.has("post1")).toBe(false);
    const before = (await phone.storage.entries())[0];
    await phone.storage.change(1, (entry) => resumeEntry(entry, "another key"));
    expect((await phone.storage.entries())[0]?.key).toBe(before?.key);
    phone.start();
    await phone.run();
    expect([...service.posts.values()].filter((post) => post.caption === "one")).toHaveLength(1);
  });
});
