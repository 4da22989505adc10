/**
 * Builds the gallery into a folder: first the page with its hashed assets, then the service worker, which
 * contains their names, then compressed copies of all files (`.gz`, `.br`).
 *
 * The same source gives the same bytes; `scripts/check.mjs` compares them with the committed build.
 */
import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createHash } from "node:crypto";
import { join, relative } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { build } from "vite";

const COMPRESSED = /\.(html|js|css|svg|webmanifest)$/;
// Compressing a smaller file saves less than the headers of the response.
const MIN_COMPRESSED_BYTES = 500;

export async function files(folder) {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
    .sort();
}

async function buildPage(folder) {
  await rm(folder, { recursive: true, force: true });
  await build({ logLevel: "warn", build: { outDir: folder, emptyOutDir: true } });
}

/**
 * Scripts that work only with a connection: for sending bytes, and for sign-in at an issuer. All other assets are
 * cached at once, so that a report, a decision or an appeal can be written offline.
 */
const ONLINE_ONLY = /^assets\/(browser|oidc)-/;

async function buildServiceWorker(folder) {
  const page = await readFile(join(folder, "index.html"), "utf-8");
  const all = (await files(folder)).filter((name) => name.startsWith("assets/"));
  const assets = all.filter((name) => !ONLINE_ONLY.test(name));
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
