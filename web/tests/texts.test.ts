import { describe, expect, test, vi } from "vitest";
import { problemTextOrDetail, texts } from "../src/texts";

describe("the text for a problem code", () => {
  test("is a sentence of ours", () => {
    expect(problemTextOrDetail("image_too_slow", "took 30 s")).toBe(texts.problems.image_too_slow);
  });

  test("names the broken rule, which only the service knows", () => {
    expect(problemTextOrDetail("validation_failed", "alt: too long")).toBe(`${texts.problems.validation_failed} (alt: too long)`);
  });

  test("is the detail of the service for an unknown code", () => {
    expect(problemTextOrDetail("of_tomorrow", "Do this.")).toBe("Do this.");
    expect(problemTextOrDetail("http_418", "")).toBe("http_418");
  });
});

test("a wait is in seconds, minutes or hours", () => {
  expect([3, 150, 20_000].map((seconds) => texts.stateRetrying(seconds).replace(/^.* in /, ""))).toEqual(["3 s", "3 min", "6 h"]);
});

test.each([
  ["de", "vor 13 Min."],
  ["en", "13 min. ago"],
])("a time in %s is in words: %s", async (language, expected) => {
  vi.stubGlobal("navigator", { languages: [language] });
  vi.resetModules();
  const { relativeTime } = await import("../src/texts");
  vi.unstubAllGlobals();
  expect(relativeTime(new Date(Date.now() - 13 * 60_000).toISOString())).toBe(expected);
});
