/**
 * A ZIP archive of uncompressed files (APPNOTE.TXT 6.3.10 of PKWARE), made in the page. Images are compressed
 * already, and a library would weigh more than these lines. Without ZIP64: at most 4 GB and 65,535 files.
 */
export interface ZipFile {
  /** The path in the archive. */
  name: string;
  content: Blob;
}

/** The archive would need ZIP64. */
export class ZipTooLargeError extends Error {}

const MAX_BYTES = 0xffffffff;
const MAX_FILES = 0xffff;
const LOCAL_HEADER = 0x04034b50;
const CENTRAL_HEADER = 0x02014b50;
const END_RECORD = 0x06054b50;
const VERSION = 20;
/** Names are UTF-8. */
const UTF8_NAMES = 0x0800;

/** Raises `ZipTooLargeError`. Contents are read one after the other, so that memory holds only pieces of them. */
export async function zipOf(files: ZipFile[], changed: Date): Promise<Blob> {
  const parts: BlobPart[] = [];
  const directory: BlobPart[] = [];
  let offset = 0;
  let directoryBytes = 0;
  for (const { name, content } of files) {
    const bytes = new TextEncoder().encode(name);
    const common = commonFields(await crc32(content), content.size, bytes.length, changed);
    parts.push(record([[LOCAL_HEADER, 4], ...common, [0, 2]]), bytes, content);
    const attributes: Field[] = [[0, 2], [0, 2], [0, 2], [0, 2], [0, 4], [offset, 4]];
    directory.push(record([[CENTRAL_HEADER, 4], [VERSION, 2], ...common, ...attributes]), bytes);
    offset += 30 + bytes.length + content.size;
    directoryBytes += 46 + bytes.length;
  }
  if (offset + directoryBytes > MAX_BYTES || files.length > MAX_FILES) throw new ZipTooLargeError();
  const counts: Field[] = [[0, 2], [0, 2], [files.length, 2], [files.length, 2]];
  const end = record([[END_RECORD, 4], ...counts, [directoryBytes, 4], [offset, 4], [0, 2]]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}

/** A number, and its length in bytes. */
type Field = [value: number, bytes: 2 | 4];

/** The fields that the local and the central header share, in their order. */
function commonFields(checksum: number, size: number, nameBytes: number, changed: Date): Field[] {
  const stored: Field[] = [[VERSION, 2], [UTF8_NAMES, 2], [0, 2]];
  return [...stored, [timeOf(changed), 2], [dateOf(changed), 2], [checksum, 4], [size, 4], [size, 4], [nameBytes, 2]];
}

function timeOf(moment: Date): number {
  return (moment.getHours() << 11) | (moment.getMinutes() << 5) | (moment.getSeconds() >> 1);
}

function dateOf(moment: Date): number {
  return ((moment.getFullYear() - 1980) << 9) | ((moment.getMonth() + 1) << 5) | moment.getDate();
}

/** Little-endian, as all numbers of the format. */
function record(fields: Field[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(fields.reduce((length, [, size]) => length + size, 0));
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const [value, size] of fields) {
    if (size === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += size;
  }
  return bytes;
}

const POLYNOMIAL = 0xedb88320;
const TABLE = Uint32Array.from({ length: 256 }, (_, start) => {
  let value = start;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ POLYNOMIAL : value >>> 1;
  return value;
});

/** The CRC-32 of ISO 3309, as ZIP has it. */
export async function crc32(content: Blob): Promise<number> {
  const reader = content.stream().getReader();
  let value = 0xffffffff;
  for (;;) {
    const { done, value: piece } = await reader.read();
    if (done) return ~value >>> 0;
    for (const byte of piece) value = (TABLE[(value ^ byte) & 0xff] ?? 0) ^ (value >>> 8);
  }
}
