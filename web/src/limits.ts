/** The service's limits (`GET /limits`), and checks of files and texts against them before they are sent. */
import { signal } from "@preact/signals";
import { read, type Schemas } from "./api";
import { BRANDS, MAX_FTYP_BYTES, MIN_FTYP_BYTES, SIGNATURES, SNIFF_BYTES } from "./image-types";

export type Limits = Schemas["LimitsBody"];

export const limits = signal<Limits | null>(null);

export async function loadLimits(): Promise<void> {
  limits.value ??= await read<Limits>("limits").catch(() => null);
}

/** `report`: also the text of a decision, and of an appeal. */
export type TextName = "caption" | "alt" | "comment" | "report";

export type Fault =
  | { is: "empty" }
  | { is: "unreadable" }
  | { is: "format" }
  | { is: "bytes"; max: number }
  | { is: "pixels"; max: number }
  | { is: "long"; field: TextName; max: number; has: number }
  | { is: "character"; character: "NUL" | "surrogate" };

/** The media type by the first bytes, recognised as the service does; null for any other file. */
export async function formatOf(file: Blob): Promise<string | null> {
  const bytes = new Uint8Array(await file.slice(0, SNIFF_BYTES).arrayBuffer());
  const head = String.fromCharCode(...bytes);
  const format = SIGNATURES.find(([, pattern]) => pattern.test(head))?.[0];
  return format ?? isobmffFormat(bytes, head);
}

/** HEIC or AVIF, by the brands of the box `ftyp` (ISO/IEC 14496-12, section 4.3). */
function isobmffFormat(bytes: Uint8Array, head: string): string | null {
  if (head.slice(4, 8) !== "ftyp") return null;
  const size = new DataView(bytes.buffer).getUint32(0);
  if (size < MIN_FTYP_BYTES || size > MAX_FTYP_BYTES || size % 4 !== 0) return null;
  // A brand is four bytes; the second four are the minor version.
  const brands = (head.slice(8, size).match(/[^]{1,4}/g) ?? []).filter((_, index) => index !== 1);
  return BRANDS.find(([, typeBrands]) => brands.some((brand) => typeBrands.includes(brand)))?.[0] ?? null;
}

/** Checks a file's size and type. Returns its media type, or a fault. */
export async function checkFile(file: Blob, rules: Limits | null): Promise<Fault | string> {
  if (file.size === 0) return { is: "empty" };
  if (rules !== null && file.size > rules.image.max_bytes) return { is: "bytes", max: rules.image.max_bytes };
  const format = await formatOf(file).catch(() => undefined);
  if (format === undefined) return { is: "unreadable" };
  const isAccepted = format !== null && (rules === null || rules.image.formats.includes(format));
  return isAccepted ? format : { is: "format" };
}

export function checkPixels(width: number, height: number, rules: Limits | null): Fault | null {
  const max = rules?.image.max_pixels ?? Infinity;
  return width * height > max ? { is: "pixels", max } : null;
}

/** A text as the service stores it: line breaks as LF, no other control characters but tab, trimmed. */
export function tidy(text: string): string {
  const lines = text.replace(/\r\n|[\r\v\f\x85\u2028\u2029]/g, "\n");
  // Python's `strip`, and so the service, does not trim U+FEFF, which JavaScript's `trim` does.
  return lines.replace(/[\x00-\x08\x0e-\x1f\x7f-\x9f]/g, "").replace(/^[^\S\ufeff]+|[^\S\ufeff]+$/g, "");
}

/** True for a text without visible characters: the service refuses such a comment. */
export function isBlank(text: string): boolean {
  return /^[\p{Cc}\p{Cf}\p{Z}\p{Mn}\p{Me}\u115f\u1160\u3164\uffa0\u2800]*$/u.test(text);
}

/** Checks a text. Its characters are counted as the service does: code points of the stored text. */
export function checkText(field: TextName, text: string, rules: Limits | null): Fault | null {
  if (text.includes("\0")) return { is: "character", character: "NUL" };
  // Half of a UTF-16 pair cannot be encoded as UTF-8.
  if (/\p{Surrogate}/u.test(text)) return { is: "character", character: "surrogate" };
  const max = rules?.[field].max_characters ?? Infinity;
  const has = [...tidy(text)].length;
  return has > max ? { is: "long", field, max, has } : null;
}
