import { describe, expect, test } from "vitest";
import { checkFile, checkPixels, checkText, type Limits } from "../src/limits";

const limits = {
  image: { max_bytes: 1000, max_pixels: 100, formats: ["image/jpeg", "image/heic"] },
  caption: { max_characters: 5 },
  alt: { max_characters: 5 },
  comment: { max_characters: 5 },
} as unknown as Limits;
const bytes = (text: string) => new Blob([Uint8Array.from(text, (character) => character.charCodeAt(0))]);

describe("what the service would refuse is said before a byte is sent", () => {
  test.each([
    ["\xff\xd8\xff\xe0", "image/jpeg"],
    ["\0\0\0\x18ftypheic\0\0\0\0mif1heic", "image/heic"],
    ["\0\0\0\x1cftypmif1\0\0\0\0mif1heicmiaf", "image/heic"],
  ])("an image is known by its first bytes", async (head, type) => {
    expect(await checkFile(bytes(head), limits)).toBe(type);
  });

  test("another format is refused, whatever its name", async () => {
    expect(await checkFile(bytes("<svg/>"), limits)).toEqual({ is: "format" });
    expect(await checkFile(bytes("\x89PNG\r\n\x1a\n"), limits)).toEqual({ is: "format" });
  });

  test("an empty file, too many bytes, too many pixels", async () => {
    expect(await checkFile(bytes(""), limits)).toEqual({ is: "empty" });
    expect(await checkFile(bytes("\xff\xd8\xff" + " ".repeat(1000)), limits)).toEqual({ is: "bytes", max: 1000 });
    expect(checkPixels(10, 10, limits)).toBeNull();
    expect(checkPixels(11, 10, limits)).toEqual({ is: "pixels", max: 100 });
  });

  test("characters are counted as the service does: code points, trimmed", () => {
    expect(checkText("caption", "  😀😀😀😀😀\r\n", limits)).toBeNull();
    expect(checkText("caption", "abcdef", limits)).toEqual({ is: "long", field: "caption", max: 5, has: 6 });
    expect(checkText("comment", "a\0", limits)).toEqual({ is: "control" });
    expect(checkText("comment", "a\tb\n", limits)).toBeNull();
  });
});
