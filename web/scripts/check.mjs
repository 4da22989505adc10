/**
 * Says whether the folder that is given is what the source builds to. Compressed files are compared by
 * what is in them: how small they are is a matter of the zlib that made them.
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
  const found = [];
  for (const name of names) {
    const [was, is] = await Promise.all(
      [committed, fresh].map((folder) => readFile(join(folder, name)).catch(() => null)),
    );
    if (was === null || is === null || !content(name, was).equals(content(name, is))) found.push(name);
  }
  return found;
}

const fresh = await mkdtemp(join(tmpdir(), "gallery-"));
try {
  await buildGallery(fresh);
  const different = await differences(process.argv[2], fresh);
  if (different.length > 0) {
    console.error(`The gallery that is committed is not what web/ builds to. Run "make web" and commit it. Other: ${different.join(", ")}`);
    process.exitCode = 1;
  }
} finally {
  await rm(fresh, { recursive: true, force: true });
}
