/**
 * Builds the gallery into the folder that is given: the page with its hashed assets, then the service
 * worker, which knows their names, then all of it compressed beside itself (`.gz`, `.br`).
 *
 * The same source gives the same bytes: `scripts/check.mjs` holds that against what is committed.
 */
import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createHash } from "node:crypto";
import { join, relative } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { build } from "vite";

const COMPRESSED = /\.(html|js|css|svg|webmanifest)$/;
// Below this, the header of a compressed file is all that is saved.
const MIN_COMPRESSED_BYTES = 500;

export async function files(folder) {
  const found = await readdir(folder, { recursive: true, withFileTypes: true });
  return found
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
    .sort();
}

async function buildPage(folder) {
  await rm(folder, { recursive: true, force: true });
  await build({ logLevel: "warn", build: { outDir: folder, emptyOutDir: true } });
}

/** What the page needs offline is kept at once: not what sends, and not what signs in at an issuer. */
async function buildServiceWorker(folder) {
  const page = await readFile(join(folder, "index.html"), "utf-8");
  const all = (await files(folder)).filter((name) => name.startsWith("assets/"));
  const assets = all.filter((name) => page.includes(name) || name.includes("worker"));
  const version = createHash("sha256").update(page).update(all.join()).digest("hex").slice(0, 12);
  await build({
    logLevel: "warn",
    publicDir: false,
    define: { __VERSION__: JSON.stringify(version), __ASSETS__: JSON.stringify(assets) },
    build: {
      outDir: folder,
      emptyOutDir: false,
      rollupOptions: {
        input: "src/service-worker.ts",
        output: { format: "iife", entryFileNames: "service-worker.js" },
      },
    },
  });
}

async function compress(folder) {
  for (const name of (await files(folder)).filter((name) => COMPRESSED.test(name))) {
    const path = join(folder, name);
    const bytes = await readFile(path);
    if (bytes.length < MIN_COMPRESSED_BYTES) continue;
    await writeFile(`${path}.gz`, gzipSync(bytes, { level: 9 }));
    const params = { [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length };
    await writeFile(`${path}.br`, brotliCompressSync(bytes, { params }));
  }
}

export async function buildGallery(folder) {
  await buildPage(folder);
  await buildServiceWorker(folder);
  await compress(folder);
}

if (process.argv[1] === import.meta.filename) await buildGallery(process.argv[2]);
