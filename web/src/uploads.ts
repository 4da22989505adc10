/**
 * Sends the bytes of an image by tus, in pieces, to the URL of its reservation. One call is one attempt; the
 * queue decides when the next one starts.
 */
import { type Identity, identityHeaders, jsonOf, reachable, resolveUrl, retryAfter, verdict } from "./api";
import type { Answer } from "./queue";

const PIECE_BYTES = 512 * 1024;
/** An attempt ends when no byte moves for so long. */
const SILENCE_MS = 10_000;

/** The connection broke, or was silent for too long. */
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
      // A connection that moved the offset before it broke does reach the service.
      if (answer === CUT) reachable.value = progress;
      resolve(answer.is === "try again" || answer.is === "out of step" ? { ...answer, progress } : answer);
    };
    upload.signal.addEventListener("abort", () => end({ is: "try again", afterMs: null }));
    watchdog.feed();
    tus.start();
  });
}

/**
 * The offsets that the service reports in one attempt, to detect progress. If the first chunk is cut, only the
 * next attempt learns how much of it arrived, so its first offset is compared with the former attempt's last.
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

  /** Ends the attempt; returns true if the offset moved. */
  end(isWhole: boolean): boolean {
    if (isWhole) Offsets.#former.delete(this.url);
    else if (this.#first !== null) Offsets.#former.set(this.url, this.#last);
    return this.#first !== null && this.#last > this.#first;
  }
}

/** A browser stores the bytes of a file apart from its record, and can lose only the bytes. */
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
  // The browser repeated a request by itself, or a newer request took the upload over.
  if (status === 409 || status === 460) return { is: "out of step" };
  return verdict({
    status,
    body: jsonOf(response.getBody()),
    etag: null,
    retryAfterMs: retryAfter(response.getHeader("retry-after"), response.getHeader("date")),
  });
}

/** Calls `late` when nobody calls `feed` for `ms`. */
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
