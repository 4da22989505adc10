// Made from src/image_poster/domain/images.py by scripts/image_types.py ("make web").
export const SNIFF_BYTES = 64;
export const MIN_FTYP_BYTES = 16;
export const MAX_FTYP_BYTES = 256;
export const SIGNATURES: [string, RegExp][] = [
  ["image/jpeg", /^\xff\xd8\xff[\xc0-\xff]/],
  ["image/png", /^\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR/],
  ["image/gif", /^GIF8[79]a[\x00-\xff]{8}/],
  ["image/webp", /^RIFF[\x00-\xff]{4}WEBPVP8[ LX]/],
  ["image/bmp", /^BM[\x00-\xff]{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\x00\x00\x00/],
];
export const BRANDS: [string, string[]][] = [
  ["image/avif", ["avif", "avis"]],
  ["image/heic", ["heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "mif2", "msf1"]],
];
