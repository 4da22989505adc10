/**
 * The bytes of an image: by tus, in pieces, to where its reservation says. One call is one attempt; when the
 * next one starts is the queue's to say.
 */
import { type Identity, identityHeaders, jsonOf, reachable, resolveUrl, retryAfter, verdict } from "./api";
import type { Answer } from "./queue";

const PIECE_BYTES = 512 * 1024;
/** A connection on which nothing moves for so long is given up. */
const SILENCE_MS = 10_000;

/** The connection ended, or carried nothing for too long. */
const CUT: Answer = { is: "try again", afterMs: null };

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
    const offsets = new Offsets(upload.url);
    const watchdog = new Watchdog(SILENCE_MS, () => end(CUT));
    const tus = new TusUpload(upload.bytes, {
      uploadUrl: resolveUrl(upload.url),
      chunkSize: PIECE_BYTES,
      headers: identityHeaders(upload.identity),
      retryDelays: null,
      storeFingerprintForResuming: false,
      onProgress: (bytes) => {
        watchdog.feed();
        upload.progress(bytes);
      },
      onAfterResponse: (_, response) => {
        const offset = response.getHeader("Upload-Offset");
        if (response.getStatus() < 300 && offset) offsets.add(Number(offset));
      },
      onSuccess: () => end({ is: "uploaded" }),
      onError: (error) => end(failure(error)),
    });
    const end = (answer: Answer) => {
      watchdog.stop();
      void tus.abort();
      const progress = offsets.end(answer.is === "uploaded");
      // A link that carries bytes until it is cut still reaches the service.
      if (answer === CUT) reachable.value = progress;
      resolve(answer.is === "try again" || answer.is === "out of step" ? { ...answer, progress } : answer);
    };
    upload.signal.addEventListener("abort", () => end({ is: "try again", afterMs: null }));
    watchdog.feed();
    tus.start();
  });
}

/**
 * The offsets that the service reports in one attempt, to tell whether the attempt was progress. Where the
 * first chunk is cut, only the next attempt learns how much of it arrived: its first offset counts then.
 */
export class Offsets {
  static readonly #former = new Map<string, number>();
  #first: number | null = null;
  #last = 0;

  constructor(readonly url: string) {}

  add(offset: number): void {
    this.#first ??= Offsets.#former.get(this.url) ?? offset;
    this.#last = offset;
  }

  /** Whether the offset moved. */
  end(isWhole: boolean): boolean {
    if (isWhole) Offsets.#former.delete(this.url);
    else if (this.#first !== null) Offsets.#former.set(this.url, this.#last);
    return this.#first !== null && this.#last > this.#first;
  }
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

function failure(error: TusError): Answer {
  const response = error.originalResponse ?? null;
  if (response === null || response.getStatus() === 0) return CUT;
  reachable.value = true;
  const status = response.getStatus();
  if (status === 404 || status === 410) return { is: "upload gone" };
  // The browser repeated a request of which we know nothing, or a newer one took the upload over.
  if (status === 409 || status === 460) return { is: "out of step" };
  return verdict({
    status,
    body: jsonOf(response.getBody()),
    etag: null,
    retryAfterMs: retryAfter(response.getHeader("retry-after"), response.getHeader("date")),
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
