/**
 * The service as far as the queue sees it, by the contract (design, sections 2 and 7), with what goes wrong
 * between a phone and it. Each request has the next of the `faults`.
 */
import type { Answer, Entry } from "../src/queue";
import type { SendContext } from "../src/sending";

export type Fault =
  | "none"
  /** It never arrives. */
  | "offline"
  /** It arrives, and its answer does not. */
  | "lost answer"
  /** The browser ends before it leaves, or after it had its effect. */
  | "crash before"
  | "crash after"
  | "token ran out"
  | "conflict"
  | "too many"
  | "busy"
  /** The service forgets uploads that are under way. */
  | "upload runs out"
  /** Somebody else edits what is asked about, before. */
  | "other edit";

export const FAULTS: Fault[] = [
  ...(["offline", "lost answer", "crash before", "crash after", "token ran out", "conflict"] as const),
  ...(["too many", "busy", "upload runs out", "none", "none"] as const),
];

interface StoredPost {
  status: "awaiting_upload" | "processing" | "ready";
  caption: string;
  alt: string;
  size: number;
  received: number;
  edits: number;
}

interface StoredComment {
  post: string;
  content: string;
  edits: number;
}

interface Reply {
  status: number;
  body?: unknown;
  headers?: Record<string, string>;
}

const NEVER = new Promise<never>(() => undefined);
const PIECE = 4;

export class Service {
  readonly posts = new Map<string, StoredPost>();
  readonly comments = new Map<string, StoredComment>();
  readonly reports: string[] = [];
  readonly blocks = new Set<string>();
  readonly appeals: string[] = [];
  /** The actions of decisions, in the order of their arrival. */
  readonly decisions: string[] = [];
  readonly #replies = new Map<string, Reply>();
  readonly #records = new Map<string, { id: string; reply: Reply }>();
  readonly #deleted = new Set<string>();
  #count = 0;
  onCrash: () => void = () => undefined;

  constructor(readonly faults: Fault[]) {}

  /** In place of the browser's. */
  readonly fetch = async (input: string | URL | Request, init: RequestInit = {}): Promise<Response> => {
    const path = new URL(String(input)).pathname;
    const method = init.method ?? "GET";
    const reply = await this.#meet(method, path, () => this.#answer(method, path, init));
    return new Response(reply.body === undefined ? null : JSON.stringify(reply.body), {
      status: reply.status,
      headers: { "content-type": "application/json", ...reply.headers },
    });
  };

  /** In place of tus: bytes by pieces, each a request. */
  async receive(entry: Entry, carrying: SendContext): Promise<Answer> {
    const bytes = await carrying.image();
    const id = entry.work.kind === "post" ? (entry.work.post ?? "") : "";
    try {
      for (;;) {
        const reply = await this.#meet("PATCH", `/uploads/${id}`, () => this.#append(id, bytes?.size ?? 0));
        if (reply.status === 404) return { is: "upload gone" };
        if (reply.status === 409) return { is: "out of step" };
        if (reply.status === 401) return { is: "signed out" };
        if (reply.status >= 400) return { is: "try again", afterMs: 1000 };
        if (this.posts.get(id)?.status !== "awaiting_upload") return { is: "uploaded" };
      }
    } catch {
      return { is: "try again", afterMs: null };
    }
  }

  async #meet(method: string, path: string, act: () => Reply): Promise<Reply> {
    const fault = this.faults.shift() ?? "none";
    const refusal = REFUSALS[fault];
    if (fault === "offline") throw new TypeError("Failed to fetch");
    if (fault === "crash before") return this.#crash();
    if (fault === "upload runs out") this.#expire();
    if (fault === "other edit") this.#editFirst(path);
    if (fault === "conflict" && method === "PATCH" && !path.startsWith("/uploads")) this.#editFirst("");
    if (refusal !== undefined && !(fault === "conflict" && method !== "POST" && !path.startsWith("/uploads"))) {
      return refusal;
    }
    const reply = act();
    if (fault === "crash after") return this.#crash();
    if (fault === "lost answer") throw new TypeError("Failed to fetch");
    return reply;
  }

  #crash(): Promise<never> {
    this.onCrash();
    return NEVER;
  }

  #expire(): void {
    for (const [id, post] of this.posts) if (post.status === "awaiting_upload") this.posts.delete(id);
  }

  #editFirst(path: string): void {
    const [, , id = "", , comment] = path.split("/");
    const text = `somebody's ${(this.#count += 1)}`;
    const target = comment === undefined ? this.posts.get(id) : this.comments.get(comment);
    if (target !== undefined && "content" in target) target.content = text;
    else if (target?.status === "ready") target.caption = text;
  }

  #answer(method: string, path: string, init: RequestInit): Reply {
    const [, , id = "", kind, comment] = path.split("/");
    const body = init.body === undefined ? {} : (JSON.parse(String(init.body)) as Record<string, string>);
    const headers = new Headers(init.headers);
    const key = headers.get("idempotency-key") ?? "";
    if (path.startsWith("/me/blocks/")) return this.#block(method, kind ?? "");
    const list = this.#listOf(path);
    if (list !== null) return this.#addTo(key, list, body["text"] ?? body["action"] ?? "");
    if (method === "POST" && kind === "comments") return this.#once(key, () => this.#comment(id, body["content"] ?? ""));
    if (method === "POST") return this.#once(key, () => this.#reserve(body));
    if (comment !== undefined) return this.#ofComment(method, comment, body, headers);
    return this.#ofPost(method, id, body, headers);
  }

  #block(method: string, user: string): Reply {
    if (method === "PUT") this.blocks.add(user);
    else this.blocks.delete(user);
    return { status: 204 };
  }

  #listOf(path: string): string[] | null {
    if (path === "/reports") return this.reports;
    if (path === "/moderation/decisions") return this.decisions;
    return path.endsWith("/appeal") ? this.appeals : null;
  }

  /** Once for each key. */
  #addTo(key: string, list: string[], text: string): Reply {
    const former = this.#replies.get(key);
    if (former !== undefined) return former;
    list.push(text);
    const reply = { status: 201, body: {} };
    this.#replies.set(key, reply);
    return reply;
  }

  #once(key: string, make: () => { id: string; reply: Reply }): Reply {
    const former = this.#records.get(key);
    if (former === undefined) return this.#record(key, make);
    const { id, reply } = former;
    if (this.#deleted.has(id)) return { status: 410, body: { code: "gone" } };
    if (this.comments.has(id)) return reply;
    const post = this.posts.get(id);
    // Its upload ended unfinished: the request runs anew.
    if (post === undefined) return this.#record(key, make);
    return post.status === "awaiting_upload" ? reply : { status: 201, body: { id } };
  }

  #record(key: string, make: () => { id: string; reply: Reply }): Reply {
    const record = make();
    this.#records.set(key, record);
    return record.reply;
  }

  #reserve(body: Record<string, unknown>): { id: string; reply: Reply } {
    const id = `post${(this.#count += 1)}`;
    const { caption, alt } = body as Record<string, string>;
    const { size } = body["image"] as { size: number };
    const post = { caption: caption ?? "", alt: alt ?? "", size, received: 0, edits: 0 };
    this.posts.set(id, { ...post, status: "awaiting_upload" });
    return { id, reply: { status: 201, body: { id, upload: { tus: `/uploads/${id}` } } } };
  }

  #comment(post: string, content: string): { id: string; reply: Reply } {
    const id = `comment${(this.#count += 1)}`;
    this.comments.set(id, { post, content, edits: 0 });
    return { id, reply: { status: 201, body: { id } } };
  }

  #append(id: string, size: number): Reply {
    const post = this.posts.get(id);
    if (post === undefined) return { status: 404 };
    post.received = Math.min(size, post.received + PIECE);
    if (post.received === post.size && post.status === "awaiting_upload") post.status = "processing";
    return { status: 204 };
  }

  #ofPost(method: string, id: string, body: Record<string, string>, headers: Headers): Reply {
    const post = this.posts.get(id);
    if (method === "DELETE") return this.#delete(this.posts, id);
    if (post === undefined) return { status: 404, body: { code: "post_not_found" } };
    const was = post.status;
    if (was === "processing") post.status = "ready";
    if (method === "GET") return tagged({ ...post, id, status: was });
    return edited(post, body, headers);
  }

  #ofComment(method: string, id: string, body: Record<string, string>, headers: Headers): Reply {
    const comment = this.comments.get(id);
    if (method === "DELETE") return this.#delete(this.comments, id);
    if (comment === undefined) return { status: 404, body: { code: "comment_not_found" } };
    return method === "GET" ? tagged({ ...comment, id }) : edited(comment, body, headers);
  }

  #delete(from: Map<string, unknown>, id: string): Reply {
    if (from.delete(id)) this.#deleted.add(id);
    return { status: this.#deleted.has(id) ? 204 : 404, body: undefined };
  }
}

const REFUSALS: Partial<Record<Fault, Reply>> = {
  "token ran out": { status: 401, body: { code: "identity_required" } },
  conflict: { status: 409, body: { code: "request_in_progress" }, headers: { "retry-after": "1" } },
  "too many": { status: 429, body: { code: "rate_limited" }, headers: { "retry-after": "7" } },
  busy: { status: 503, body: { code: "busy" }, headers: { "retry-after": "2" } },
};

function tagOf(texts: object): string {
  const { caption, alt, content } = texts as Record<string, string>;
  return JSON.stringify([caption, alt, content]).replaceAll('"', "'");
}

function tagged(body: object): Reply {
  return { status: 200, body, headers: { etag: tagOf(body) } };
}

function edited(target: StoredPost | StoredComment, body: Record<string, string>, headers: Headers): Reply {
  const expectedTag = headers.get("if-match");
  if (expectedTag !== "*" && expectedTag !== tagOf(target)) return { status: 412, body: { code: "edit_conflict" } };
  Object.assign(target, body);
  target.edits += 1;
  return tagged(target);
}
