/**
 * The users whom this user blocks, and the content that this user has reported. The page omits users and posts at
 * once, also offline, and marks comments. The lists are on this device until `Sign out`.
 */
import { signal } from "@preact/signals";
import { type Caller, type Identity, read, request, type Schemas, verdict } from "./api";
import * as me from "./me";
import type { Answer } from "./queue";
import { pagePath } from "./reports";
import type { Storage } from "./storage";
import type { BlockWork, ReportWork, UnblockWork, Work } from "./works";

type Block = Schemas["BlockBody"];
type BlockPage = Schemas["BlockPageBody"];

interface Omitted {
  user: string | null;
  blocks: Block[];
  /** Ids of posts. */
  reported: string[];
  /** Ids of comments. Earlier versions of the page stored none. */
  reportedComments?: string[];
}

const NAME = "omitted";
const NOTHING: Omitted = { user: null, blocks: [], reported: [] };
/** The feed of the service omits older ones. */
const MAX_REPORTED = 200;

/** The lists of the signed-in user, as the service has confirmed them. */
export const omitted = signal<Omitted>(NOTHING);

let storage: Storage;

/** Shows the stored lists; call after the session is restored. */
export async function restore(device: Storage): Promise<void> {
  storage = device;
  me.sessionEnds.subscribe(() => (omitted.value = NOTHING));
  const stored = await storage.get<Omitted>(NAME);
  if (stored !== undefined && stored.user === me.session.peek()?.user) omitted.value = stored;
}

/** Reads the whole list of blocks from the service; offline, the stored one stays. */
export async function loadBlocks(user: string, identity: Identity): Promise<void> {
  const blocks: Block[] = [];
  let cursor: string | null = null;
  try {
    do {
      const page: BlockPage = await read<BlockPage>(pagePath("me/blocks", cursor), { identity });
      blocks.push(...page.blocks);
      cursor = page.next;
    } while (cursor !== null);
  } catch {
    return;
  }
  await change(user, (lists) => ({ ...lists, blocks }));
}

async function change(user: string, update: (lists: Omitted) => Omitted): Promise<void> {
  // Another user may have signed in during the request.
  if (me.session.peek()?.user !== user) return;
  const current = omitted.peek();
  omitted.value = update(current.user === user ? current : { ...NOTHING, user });
  await storage.set(NAME, omitted.peek());
}

/** Applies a report, a block or its end that the service has accepted. */
export async function applyDone(work: Work, user: string): Promise<void> {
  if (work.kind === "report") await change(user, (lists) => withReport(lists, work));
  else if (work.kind === "block" || work.kind === "unblock") {
    await change(user, (lists) => ({ ...lists, blocks: withChange(lists.blocks, work) }));
  }
}

function withReport(lists: Omitted, { post, comment }: ReportWork): Omitted {
  if (comment === null) return { ...lists, reported: [...lists.reported, post].slice(-MAX_REPORTED) };
  return { ...lists, reportedComments: [...(lists.reportedComments ?? []), comment].slice(-MAX_REPORTED) };
}

function withChange(blocks: Block[], work: BlockWork | UnblockWork): Block[] {
  const others = blocks.filter(({ user }) => user !== work.user);
  return work.kind === "block" ? [{ user: work.user, created_at: new Date().toISOString() }, ...others] : others;
}

/** Begins or ends a block; each may be repeated. */
export async function send(work: BlockWork | UnblockWork, caller: Caller): Promise<Answer> {
  const method = work.kind === "block" ? "PUT" : "DELETE";
  const reply = await request(method, `me/blocks/${encodeURIComponent(work.user)}`, caller);
  return reply.status === 204 ? { is: "done" } : verdict(reply);
}

/** The users blocked now: the confirmed blocks, and the changes that wait (`works`, in their order). */
export function blockedUsers(works: Work[]): Set<string> {
  const users = new Set(omitted.value.blocks.map(({ user }) => user));
  for (const work of works) {
    if (work.kind === "block") users.add(work.user);
    else if (work.kind === "unblock") users.delete(work.user);
  }
  return users;
}

/** The reported posts: those of the service, and those of reports that wait. */
export function reportedPosts(works: Work[]): Set<string> {
  const waiting = works.flatMap((work) => (work.kind === "report" && work.comment === null ? [work.post] : []));
  return new Set([...omitted.value.reported, ...waiting]);
}

/** The comments that this user has reported from this device. */
export function reportedComments(works: Work[]): Set<string> {
  const waiting = works.flatMap((work) => (work.kind === "report" && work.comment !== null ? [work.comment] : []));
  return new Set([...(omitted.value.reportedComments ?? []), ...waiting]);
}
