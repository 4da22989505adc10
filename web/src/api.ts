/**
 * One request to the API and its reply. What a reply means for something that is being sent is `verdict`;
 * whether the service can be reached just now is `reachable`.
 */
import { signal } from "@preact/signals";
import type { Answer } from "./queue";
import type { components } from "./schema";

export type Schemas = components["schemas"];

/** Who asks: a name where names are believed (`auth=dev`), else a bearer token. */
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

/** No answer came; whether the request arrived is not known. */
export class UnreachableError extends Error {}

const TIMEOUT_MS = 30_000;
/** Of the service worker: this answer is what was seen last. */
export const CACHED_HEADER = "x-kept";

/** Where the service lives; everything is relative to the page. */
export const base = new URL(".", globalThis.document?.baseURI ?? "http://localhost/");

export const reachable = signal(true);

/** A URL that the service gave, or a path of its API. */
export function resolveUrl(url: string): string {
  return new URL(url, base).href;
}

export function identityHeaders(identity: Identity | null): Record<string, string> {
  if (identity === null) return {};
  if (identity.mode === "jwt") return { authorization: `Bearer ${identity.credential}` };
  // Headers are bytes, and the service reads a name's as UTF-8.
  const bytes = new TextEncoder().encode(identity.credential);
  return { "user-id": String.fromCharCode(...bytes) };
}

/** As whom a request is sent, and what ends it early. */
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

/** Raises `UnreachableError`. */
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

/** Null for what is none: gateways in front answer in words of their own, or not at all. */
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

export class RefusedError extends Error {
  constructor(readonly reply: Reply) {
    super(problemOf(reply).detail);
  }
}

/** Why something could not be read: the code of a refusal, or null if no answer came. */
export function refusalOf(error: unknown): string | null {
  return error instanceof RefusedError ? problemOf(error.reply).code : null;
}

/** A gateway in front may have refused in its own words, or none. */
export function problemOf(reply: Reply): { code: string; detail: string } {
  const problem = (reply.body ?? {}) as Partial<Schemas["Problem"]>;
  const fields = (problem.errors ?? []).map((error) => `${error.field}: ${error.detail}`);
  return {
    code: problem.code ?? `http_${reply.status}`,
    detail: fields.length > 0 ? fields.join("; ") : (problem.detail ?? ""),
  };
}

/** What a reply that is no success means for whatever was sent. */
export function verdict(reply: Reply): Answer {
  const { code, detail } = problemOf(reply);
  if (reply.status === 401) return { is: "signed out" };
  if (isTransient(reply.status, code)) return { is: "try again", afterMs: reply.retryAfterMs, why: code };
  if (reply.status === 410) return { is: "gone" };
  return { is: "failed", code, detail };
}

/** 408, 425 and 429 by their meaning; 409 while our own first request runs; 507 until there is room. */
function isTransient(status: number, code: string): boolean {
  return status >= 500 || [408, 425, 429].includes(status) || code === "request_in_progress";
}

/** The answer of `attempt`, where an answer that never came is one too. */
export async function answerOfAttempt(attempt: () => Promise<Answer>): Promise<Answer> {
  try {
    return await attempt();
  } catch (error) {
    if (error instanceof UnreachableError) return { is: "try again", afterMs: null };
    // A fault of this page: what was made is kept, and a person may send it again.
    return { is: "failed", code: "page_error", detail: String(error) };
  }
}
