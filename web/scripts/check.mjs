/**
 * Compares a folder with a build of the source. Compressed files are compared by their content: their size
 * depends on the version of zlib.
 */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { brotliDecompressSync, gunzipSync } from "node:zlib";
import { buildGallery, files } from "./build.mjs";

function content(name, bytes) {
  if (name.endsWith(".br")) return brotliDecompressSync(bytes);
  return name.endsWith(".gz") ? gunzipSync(bytes) : bytes;
}

async function differences(committed, fresh) {
  const names = [...new Set([...(await files(committed)), ...(await files(fresh))])];
  const differing = [];
  for (const name of names) {
    const [was, is] = await Promise.all(
      [committed, fresh].map((folder) => readFile(join(folder, name)).catch(() => null)),
    );
    if (was === null || is === null || !content(name, was).equals(content(name, is))) differing.push(name);
  }
  return differing;
}

const fresh = await mkdtemp(join(tmpdir(), "gallery-"));
try {
  await buildGallery(fresh);
  const different = await differences(process.argv[2], fresh);
  if (different.length > 0) {
    console.error(`The committed gallery differs from a build of web/. Run "make web" and commit it. Different files: ${different.join(", ")}`);
    process.exitCode = 1;
  }
} finally {
  await rm(fresh, { recursive: true, force: true });
}
