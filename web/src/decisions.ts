/** Decisions about content and users: those of admins, the user's own list, and appeals. */
import { type Caller, type Identity, read, request, type Schemas, verdict } from "./api";
import type { Answer, Entry } from "./queue";
import { pagePath } from "./reports";
import type { AppealWork, DecisionWork, Subject } from "./works";

export type OwnDecision = Schemas["OwnDecisionBody"];
export type QueueEntry = Schemas["EntryBody"];
type OwnDecisionPage = Schemas["OwnDecisionPageBody"];
type QueuePage = Schemas["QueueBody"];

/** Sends an admin's decision. 200: it was in force already. */
export async function decide(entry: Entry, work: DecisionWork, caller: Caller): Promise<Answer> {
  const reply = await request("POST", "moderation/decisions", {
    ...caller,
    headers: { "idempotency-key": entry.key },
    json: { ...subjectFields(work.subject), ...optionalFields(work), action: work.action },
  });
  if (reply.status === 201 || reply.status === 200) return { is: "done" };
  return reply.status === 404 ? { is: "gone" } : verdict(reply);
}

function subjectFields(subject: Subject): Record<string, string> {
  if ("user" in subject) return { user: subject.user };
  return { post_id: subject.post, ...(subject.comment === null ? {} : { comment_id: subject.comment }) };
}

function optionalFields({ reason, text, until, blockImage }: DecisionWork): Record<string, unknown> {
  return {
    ...(reason === null ? {} : { reason }),
    ...(text === "" ? {} : { text }),
    ...(until === null ? {} : { until }),
    ...(blockImage ? { block_image: true } : {}),
  };
}

export async function appeal(entry: Entry, work: AppealWork, caller: Caller): Promise<Answer> {
  const reply = await request("POST", `me/decisions/${work.decision}/appeal`, {
    ...caller,
    headers: { "idempotency-key": entry.key },
    json: { text: work.text },
  });
  return reply.status === 201 ? { is: "done" } : verdict(reply);
}

/** A page of the decisions about the user's content and account, newest first. */
export function readOwnDecisions(identity: Identity, cursor: string | null): Promise<OwnDecisionPage> {
  return read<OwnDecisionPage>(pagePath("me/decisions", cursor), { identity });
}

/** A page of the moderation queue, oldest first; for admins. */
export function readQueue(identity: Identity, cursor: string | null): Promise<QueuePage> {
  return read<QueuePage>(pagePath("moderation/queue", cursor), { identity });
}
