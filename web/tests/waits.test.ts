import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { retryAfter } from "../src/api";
import { type Entry, newEntry } from "../src/queue";
import { Offsets } from "../src/uploads";
import { Waits } from "../src/waits";

const NOW = 1_800_000_000_000;
const DAY = 86_400_000;

/** An entry whose wait began while the device's clock showed `now`. */
function retrying(now: number, waitMs?: number, length = waitMs ?? 0): Entry {
  const state = { is: "retrying" as const, at: now + length, ...(waitMs === undefined ? {} : { waitMs }) };
  return { ...newEntry("key", "alice", { kind: "comment", post: "a", content: "x" }), id: 1, state };
}

function device(clock: number) {
  const time = { clock, page: 0 };
  return { time, waits: new Waits(() => time.clock, () => time.page) };
}

describe("a wait is as long as it was meant to be, whatever the device's clock does", () => {
  test.each([DAY, 365 * DAY])("a clock that was %i ms ahead and is corrected", (ahead) => {
    const { time, waits } = device(NOW + ahead);
    const entry = retrying(NOW + ahead, 5000);
    expect(waits.remaining(entry)).toBe(5000);
    time.clock = NOW;
    time.page = 2000;
    expect(waits.remaining(entry)).toBe(3000);
    time.page = 5000;
    expect(waits.remaining(entry)).toBe(0);
  });

  test("a clock that jumps ahead ends no wait", () => {
    const { time, waits } = device(NOW);
    const entry = retrying(NOW, 5000);
    expect(waits.remaining(entry)).toBe(5000);
    time.clock += 365 * DAY;
    expect(waits.remaining(entry)).toBe(5000);
  });

  test("after a reload the clock counts, up to the whole wait", () => {
    expect(device(NOW).waits.remaining(retrying(NOW + DAY, 5000))).toBe(5000);
    expect(device(NOW + 2000).waits.remaining(retrying(NOW, 5000))).toBe(3000);
    expect(device(NOW + DAY).waits.remaining(retrying(NOW, 5000))).toBe(0);
  });

  test("an entry of a former version, which has no length of its wait, waits at most the longest back-off", () => {
    expect(device(NOW).waits.remaining(retrying(NOW + 365 * DAY, undefined, 7000))).toBe(30_000);
    expect(device(NOW).waits.remaining(retrying(NOW, undefined, 7000))).toBe(7000);
  });

  test("a new wait of the same entry is another one", () => {
    const { time, waits } = device(NOW);
    expect(waits.remaining(retrying(NOW, 5000))).toBe(5000);
    time.clock += 5000;
    time.page += 5000;
    expect(waits.remaining(retrying(time.clock, 8000))).toBe(8000);
  });

  test("any jumps of the clock: never longer than the wait, and over once the page has lived so long", () => {
    const jumps = fc.array(fc.integer({ min: -400 * DAY, max: 400 * DAY }), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(jumps, fc.integer({ min: 1, max: 3_630_000 }), (shifts, waitMs) => {
        const { time, waits } = device(NOW);
        const entry = retrying(NOW, waitMs);
        for (const [step, shift] of shifts.entries()) {
          expect(waits.remaining(entry)).toBe(Math.max(0, waitMs - time.page));
          time.clock += shift;
          time.page = (waitMs * (step + 1)) / shifts.length;
        }
        expect(waits.remaining(entry)).toBeLessThan(1);
      }),
    );
  });
});

describe("Retry-After", () => {
  test("is in seconds or a date, which the response's own Date measures", () => {
    const date = new Date(NOW).toUTCString();
    expect(retryAfter("7", date)).toBe(7000);
    expect(retryAfter(new Date(NOW + 7000).toUTCString(), date)).toBe(7000);
    expect(retryAfter(new Date(NOW - 7000).toUTCString(), date)).toBe(0);
    expect(retryAfter("soon", date)).toBeNull();
    expect(retryAfter(undefined, undefined)).toBeNull();
  });

  test("without a Date the device's clock counts", () => {
    expect(retryAfter(new Date(Date.now() + 60_000).toUTCString(), null)).toBeGreaterThan(50_000);
  });
});

describe("an attempt is progress if the offset moved past the one that the service reported at its start", () => {
  function attempt(url: string, offsets: number[]): boolean {
    const reported = new Offsets(url);
    for (const offset of offsets) reported.add(offset);
    return reported.end(false);
  }

  test("one chunk arrived, and the second was cut", () => expect(attempt("a", [0, 512])).toBe(true));
  test("nothing arrived", () => expect([attempt("b", [0]), attempt("b", [0]), attempt("b", [])]).toEqual([false, false, false]));
  test("the first chunk was cut: the next attempt learns that bytes arrived", () => {
    expect([attempt("c", [0]), attempt("c", [300]), attempt("c", [300])]).toEqual([false, true, false]);
  });
  test("an offset that went back is no progress", () => expect([attempt("d", [512]), attempt("d", [0])]).toEqual([false, false]));
});
