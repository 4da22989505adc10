/** What the service takes (`GET /limits`), and what it will refuse, said before a byte is sent. */
import { signal } from "@preact/signals";
import { read, type Schemas } from "./api";

export type Limits = Schemas["LimitsBody"];

export const limits = signal<Limits | null>(null);

export async function ask(): Promise<void> {
  limits.value ??= await read<Limits>("limits").catch(() => null);
}

export type Fault =
  | { is: "empty" }
  | { is: "unreadable" }
  | { is: "format" }
  | { is: "bytes"; max: number }
  | { is: "pixels"; max: number }
  | { is: "long"; field: "caption" | "alt" | "comment"; max: number; has: number }
  | { is: "control" };

const HEAD_BYTES = 256;

/** The media type that the first bytes show, as the service recognises it; null for none that it takes. */
export async function formatOf(file: Blob): Promise<string | null> {
  const head = new Uint8Array(await file.slice(0, HEAD_BYTES).arrayBuffer());
  const text = String.fromCharCode(...head);
  const found = SIGNATURES.find(([, matches]) => matches(text));
  return found?.[0] ?? null;
}

// WHATWG MIME Sniffing, section 6.1; ISO/IEC 14496-12, section 4.3, for HEIC and AVIF.
const SIGNATURES: [string, (head: string) => boolean][] = [
  ["image/jpeg", (head) => head.startsWith("\xff\xd8\xff")],
  ["image/png", (head) => head.startsWith("\x89PNG\r\n\x1a\n")],
  ["image/gif", (head) => /^GIF8[79]a/.test(head)],
  ["image/webp", (head) => /^RIFF[^]{4}WEBP/.test(head)],
  ["image/bmp", (head) => head.startsWith("BM")],
  ["image/avif", (head) => /^[^]{4}ftyp/.test(head) && /avi[fs]/.test(brands(head))],
  ["image/heic", (head) => /^[^]{4}ftyp/.test(head) && /hei[cxms]|hev[cx]/.test(brands(head))],
];

function brands(head: string): string {
  return head.slice(8, head.charCodeAt(3));
}

/** What is wrong with a file by its type and bytes; a fault, or its media type. */
export async function checkFile(file: Blob, taken: Limits | null): Promise<Fault | string> {
  if (file.size === 0) return { is: "empty" };
  if (taken !== null && file.size > taken.image.max_bytes) return { is: "bytes", max: taken.image.max_bytes };
  const format = await formatOf(file).catch(() => undefined);
  if (format === undefined) return { is: "unreadable" };
  const isTaken = format !== null && (taken === null || taken.image.formats.includes(format));
  return isTaken ? format : { is: "format" };
}

export function checkPixels(width: number, height: number, taken: Limits | null): Fault | null {
  const max = taken?.image.max_pixels ?? Infinity;
  return width * height > max ? { is: "pixels", max } : null;
}

const CONTROL = /[\x00-\x08\x0b-\x1f\x7f-\x9f]/;

/** Characters as the service counts them: code points, after trimming. */
export function checkText(field: "caption" | "alt" | "comment", text: string, taken: Limits | null): Fault | null {
  const kept = text.replaceAll("\r\n", "\n").trim();
  const max = taken?.[field].max_characters ?? Infinity;
  const has = [...kept].length;
  if (has > max) return { is: "long", field, max, has };
  return CONTROL.test(kept) ? { is: "control" } : null;
}
