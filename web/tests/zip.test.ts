import { describe, expect, test } from "vitest";
import { crc32, zipOf, ZipTooLargeError } from "../src/zip";

const MOMENT = new Date(2026, 10, 30, 23, 59, 58);

/** A file of a size, without its bytes. */
function fileOfSize(size: number): Blob {
  const empty = new Blob([]);
  return { size, stream: () => empty.stream() } as Blob;
}

test("the checksum is that of the standard's own example", async () => {
  expect(await crc32(new Blob(["123456789"]))).toBe(0xcbf43926);
});

describe("an archive", () => {
  test("has each file with its name, checksum, size and bytes", async () => {
    const archive = await zipOf([{ name: "posts.json", content: new Blob(["123456789"]) }, { name: "Zoë.txt", content: new Blob([]) }], MOMENT);
    const view = new DataView(await archive.arrayBuffer());
    const text = new TextDecoder().decode(view.buffer);
    expect(view.getUint32(0, true)).toBe(0x04034b50);
    expect(view.getUint32(14, true)).toBe(0xcbf43926);
    expect(view.getUint32(22, true)).toBe(9);
    expect(text.slice(30, 40)).toBe("posts.json");
    expect(text.slice(40, 49)).toBe("123456789");
    const end = view.byteLength - 22;
    expect(view.getUint32(end, true)).toBe(0x06054b50);
    expect(view.getUint16(end + 10, true)).toBe(2);
    expect(view.getUint32(view.getUint32(end + 16, true), true)).toBe(0x02014b50);
  });

  test("has the moment at which its files were made, in steps of two seconds", async () => {
    const view = new DataView(await (await zipOf([{ name: "a", content: new Blob([]) }], MOMENT)).arrayBuffer());
    const [time, date] = [view.getUint16(10, true), view.getUint16(12, true)];
    expect([time >> 11, (time >> 5) & 63, (time & 31) * 2]).toEqual([23, 59, 58]);
    expect([(date >> 9) + 1980, (date >> 5) & 15, date & 31]).toEqual([2026, 11, 30]);
  });

  test("of more than 4 GB is refused", async () => {
    const halves = ["a", "b"].map((name) => ({ name, content: fileOfSize(2 ** 31) }));
    await expect(zipOf(halves, MOMENT)).rejects.toThrow(ZipTooLargeError);
  });
});
