import { describe, expect, test } from "vitest";
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
