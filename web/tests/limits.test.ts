import { describe, expect, test } from "vitest";
import { checkFile, checkPixels, checkText, formatOf, isBlank, type Limits, tidy } from "../src/limits";
import heads from "./heads.json";

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
    ["\0\0\0\x14ftypmif1\0\0\0\0mif1", "image/heic"],
    ["\0\0\0\x14ftypmif2\0\0\0\0mif2", "image/heic"],
    ["\0\0\0\x14ftypmsf1\0\0\0\0msf1", "image/heic"],
  ])("an image is known by its first bytes", async (head, type) => {
    expect(await checkFile(bytes(head), limits)).toBe(type);
  });

  test("the gallery recognises each first bytes as the service does", async () => {
    const types = await Promise.all(heads.map(([hex]) => formatOf(new Blob([Uint8Array.from(Buffer.from(hex ?? "", "hex"))]))));
    expect(types).toEqual(heads.map(([, type]) => type));
    expect(new Set(types).size).toBe(8);
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
    expect(checkText("comment", "a\tb\n", limits)).toBeNull();
    expect(checkText("comment", "a\u200b\x07\x07\x07\x07b", limits)).toBeNull();
  });

  test.each(["a\0b", "\0"])("a text with NUL is refused by that name", (text) => {
    expect(checkText("comment", text, limits)).toEqual({ is: "character", character: "NUL" });
  });

  test.each(["a\ud83d", "\ude00 b", "\ude00\ud83d"])("a lone surrogate is refused by that name, and a pair is not", (text) => {
    expect(checkText("comment", text, limits)).toEqual({ is: "character", character: "surrogate" });
    expect(checkText("comment", "\ud83d\ude00", limits)).toBeNull();
  });

  test("a text from a word processor becomes what the service stores", () => {
    expect(tidy("\u2003a\vb\fc\rd\r\ne\x85f\u2028g\u2029h\ti\x07\x9b \n")).toBe("a\nb\nc\nd\ne\nf\ng\nh\ti");
    expect(tidy("\ufeffa ")).toBe("\ufeffa");
  });

  test.each(["", " \n", "\u200b\u2060\ufeff", "\xad", "\u3164\u2800", "\u200d\ufe0f", "\x01"])("%j is blank", (text) => {
    expect(isBlank(text)).toBe(true);
    expect(isBlank(`${text}a${text}`)).toBe(false);
  });
});
