/**
 * The bytes of an image: by tus, in pieces, to where its reservation says. One call is one try; when to try
 * again is the queue's to say.
 */
import { type Identity, identityHeaders, jsonOf, reachable, resolved, retryAfter, verdict } from "./api";
import type { Answer } from "./queue";

const PIECE_BYTES = 512 * 1024;
/** A connection on which nothing moves for so long is given up. */
const SILENCE_MS = 10_000;

export interface Upload {
  url: string;
  bytes: Blob;
  identity: Identity;
  signal: AbortSignal;
  progress: (sentBytes: number) => void;
}

export async function send(upload: Upload): Promise<Answer> {
  if (!(await isReadable(upload.bytes))) return { is: "failed", code: "unreadable", detail: "" };
  const { Upload: TusUpload } = await import("tus-js-client");
  return new Promise((resolve) => {
    let sent = 0;
    let first: number | null = null;
    const watchdog = new Watchdog(SILENCE_MS, () => end({ is: "try again", afterMs: null }));
    const tus = new TusUpload(upload.bytes, {
      uploadUrl: resolved(upload.url),
      chunkSize: PIECE_BYTES,
      headers: identityHeaders(upload.identity),
      retryDelays: null,
      storeFingerprintForResuming: false,
      onProgress: (bytes) => {
        watchdog.feed();
        upload.progress(bytes);
      },
      onChunkComplete: (_, accepted) => {
        reachable.value = true;
        first ??= accepted;
        sent = accepted;
      },
      onSuccess: () => end({ is: "uploaded" }),
      onError: (error) => end(failure(error, moved())),
    });
    const moved = () => first !== null && sent > first;
    const end = (answer: Answer) => {
      watchdog.stop();
      void tus.abort();
      resolve(answer);
    };
    upload.signal.addEventListener("abort", () => end({ is: "try again", afterMs: null }));
    watchdog.feed();
    tus.start();
  });
}

/** A browser keeps the bytes apart from the record of them; they can be lost alone. */
async function isReadable(bytes: Blob): Promise<boolean> {
  try {
    await bytes.slice(0, 1).arrayBuffer();
    await bytes.slice(bytes.size - 1).arrayBuffer();
    return true;
  } catch {
    return false;
  }
}

type TusError = Error & {
  originalResponse?: { getStatus(): number; getHeader(name: string): string | undefined; getBody(): string } | null;
};

function failure(error: TusError, moved: boolean): Answer {
  const response = error.originalResponse ?? null;
  if (response === null || response.getStatus() === 0) {
    reachable.value = moved;
    return moved ? { is: "interrupted" } : { is: "try again", afterMs: null };
  }
  reachable.value = true;
  const status = response.getStatus();
  if (status === 404 || status === 410) return { is: "upload gone" };
  // The browser repeated a request of which we know nothing, or a newer one took the upload over.
  if (status === 409 || status === 460) return { is: "out of step" };
  return verdict({
    status,
    body: jsonOf(response.getBody()),
    etag: null,
    retryAfterMs: retryAfter(response.getHeader("retry-after")),
  });
}

/** Calls `late` once nothing has fed it for `ms`. */
class Watchdog {
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    readonly ms: number,
    readonly late: () => void,
  ) {}

  feed(): void {
    this.stop();
    this.#timer = setTimeout(this.late, this.ms);
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}
