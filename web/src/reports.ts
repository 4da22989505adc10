/** Reports: sending one, and reading the user's own. */
import { type Caller, type Identity, read, request, type Schemas, verdict } from "./api";
import type { Answer, Entry } from "./queue";
import type { Reason, ReportWork } from "./works";

export type Report = Schemas["ReportBody"];
type ReportPage = Schemas["ReportPageBody"];

/** The reasons of reports and of decisions, in the order of the dialog. */
export const REASONS: Reason[] = ["spam", "nudity", "violence", "hate", "harassment", "self_harm", "illegal", "copyright", "other"];

/** Sends a report. 200: the same user's first report of this subject is still open. */
export async function send(entry: Entry, work: ReportWork, caller: Caller): Promise<Answer> {
  const { post, comment, reason, text } = work;
  const reply = await request("POST", "reports", {
    ...caller,
    headers: { "idempotency-key": entry.key },
    json: { post_id: post, ...(comment === null ? {} : { comment_id: comment }), reason, ...(text === "" ? {} : { text }) },
  });
  if (reply.status === 201 || reply.status === 200) return { is: "done" };
  return reply.status === 404 ? { is: "gone" } : verdict(reply);
}

/** A page of the user's own reports, newest first. */
export function readOwnReports(identity: Identity, cursor: string | null): Promise<ReportPage> {
  return read<ReportPage>(pagePath("me/reports", cursor), { identity });
}

/** The path of a page of a list. */
export function pagePath(path: string, cursor: string | null): string {
  return cursor === null ? `${path}?limit=100` : `${path}?limit=100&cursor=${encodeURIComponent(cursor)}`;
}
