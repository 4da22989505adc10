/**
 * One request to the API and its reply. `verdict` translates a reply into the answer for a queue entry.
 * `reachable` is true while the service can be reached.
 */
import { signal } from "@preact/signals";
import type { Answer } from "./queue";
import type { components } from "./schema";

export type Schemas = components["schemas"];

/** The caller: a name if the service trusts names (`auth=dev`), else a bearer token. */
export interface Identity {
  mode: "dev" | "jwt";
  credential: string;
}

export interface Reply {
  status: number;
  body: unknown;
  etag: string | null;
  retryAfterMs: number | null;
}

/** No answer came; the request may have arrived. */
export class UnreachableError extends Error {}

const TIMEOUT_MS = 30_000;
/** The header that the service worker sets on responses from its cache. */
export const CACHED_HEADER = "x-kept";

/** The address of the service; all URLs are relative to the page. */
export const base = new URL(".", globalThis.document?.baseURI ?? "http://localhost/");

export const reachable = signal(true);

/** The absolute URL for a URL from the service, or for a path of its API. */
export function resolveUrl(url: string): string {
  return new URL(url, base).href;
}

export function identityHeaders(identity: Identity | null): Record<string, string> {
  if (identity === null) return {};
  if (identity.mode === "jwt") return { authorization: `Bearer ${identity.credential}` };
  // Headers are bytes, and the service decodes a name as UTF-8.
  const bytes = new TextEncoder().encode(identity.credential);
  return { "user-id": String.fromCharCode(...bytes) };
}

/** The user of a request, and the signal that ends it early. */
export interface Caller {
  identity: Identity;
  signal: AbortSignal;
}

export interface Sending {
  identity?: Identity | null;
  json?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

/** Sends one request. Raises `UnreachableError`. */
export async function request(method: string, path: string, sending: Sending = {}): Promise<Reply> {
  const headers = { ...identityHeaders(sending.identity ?? null), ...sending.headers };
  const init: RequestInit = { method, headers, signal: withTimeout(sending.signal) };
  if (sending.json !== undefined) {
    headers["content-type"] = "application/json";
    init.body = JSON.stringify(sending.json);
  }
  try {
    const response = await fetch(resolveUrl(path), init);
    const reply = await replyOf(response);
    reachable.value = !response.headers.has(CACHED_HEADER);
    return reply;
  } catch (error) {
    if (sending.signal?.aborted !== true) reachable.value = false;
    throw new UnreachableError(String(error));
  }
}

function withTimeout(ended: AbortSignal | undefined): AbortSignal {
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  return ended === undefined ? timeout : AbortSignal.any([ended, timeout]);
}

async function replyOf(response: Response): Promise<Reply> {
  const text = await response.text();
  return {
    status: response.status,
    body: jsonOf(text),
    etag: response.headers.get("etag"),
    retryAfterMs: retryAfter(response.headers.get("retry-after"), response.headers.get("date")),
  };
}

/** The parsed JSON, or null: a gateway may answer with another text, or none. */
export function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/**
 * Milliseconds, of seconds or of a date (RFC 9110, section 10.2.3). A date is compared with the response's own
 * `Date`, since this device's clock may be wrong.
 */
export function retryAfter(header: string | null | undefined, date: string | null | undefined): number | null {
  if (!header) return null;
  const seconds = Number(header);
  const now = Date.parse(date ?? "") || Date.now();
  const wait = Number.isNaN(seconds) ? Date.parse(header) - now : seconds * 1000;
  return Number.isNaN(wait) ? null : Math.max(0, wait);
}

/** The body of a reply that succeeded. Raises `RefusedError`. */
export async function read<T>(path: string, sending: Sending = {}): Promise<T> {
  const reply = await request("GET", path, sending);
  if (reply.status !== 200) throw new RefusedError(reply);
  return reply.body as T;
}

/** The bytes at a path that only this caller may read. Raises `RefusedError`, `UnreachableError`. */
export async function readBytes(path: string, identity: Identity): Promise<Blob> {
  const response = await fetch(resolveUrl(path), { headers: identityHeaders(identity) }).catch((error: unknown) => {
    throw new UnreachableError(String(error));
  });
  if (!response.ok) throw new RefusedError(await replyOf(response));
  return response.blob();
}

export class RefusedError extends Error {
  constructor(readonly reply: Reply) {
    super(problemOf(reply).detail);
  }
}

/** The code of a refusal, or null if no answer came. */
export function refusalOf(error: unknown): string | null {
  return error instanceof RefusedError ? problemOf(error.reply).code : null;
}

/** The problem's code and detail. A gateway's refusal may have neither. */
export function problemOf(reply: Reply): { code: string; detail: string } {
  const problem = (reply.body ?? {}) as Partial<Schemas["Problem"]>;
  const fields = (problem.errors ?? []).map((error) => `${error.field}: ${error.detail}`);
  return {
    code: problem.code ?? `http_${reply.status}`,
    detail: fields.length > 0 ? fields.join("; ") : (problem.detail ?? ""),
  };
}

/** The answer for an entry whose request did not succeed. */
export function verdict(reply: Reply): Answer {
  const { code, detail } = problemOf(reply);
  if (reply.status === 401) return { is: "signed out" };
  if (isTransient(reply.status, code)) return { is: "try again", afterMs: reply.retryAfterMs, why: code };
  if (reply.status === 410) return { is: "gone" };
  return { is: "failed", code, detail };
}

/** 408, 425 and 429 by their meaning; 409 while our own first request runs; 507 until space is free. */
function isTransient(status: number, code: string): boolean {
  return status >= 500 || [408, 425, 429].includes(status) || code === "request_in_progress";
}

/** The answer of `attempt`; a missing reply becomes `try again`. */
export async function answerOfAttempt(attempt: () => Promise<Answer>): Promise<Answer> {
  try {
    return await attempt();
  } catch (error) {
    if (error instanceof UnreachableError) return { is: "try again", afterMs: null };
    // A fault of this page: the entry stays, and the user can send it again.
    return { is: "failed", code: "page_error", detail: String(error) };
  }
}
