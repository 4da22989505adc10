/**
 * The resources of section 12 of the contract, written by hand until `schema.ts` has them.
 */
import type { components } from "./schema";

type Schemas = components["schemas"];

export type Reason = "spam" | "nudity" | "violence" | "hate" | "harassment" | "self_harm" | "illegal" | "copyright" | "other";
export type Action = "hide" | "restore" | "delete" | "publish" | "dismiss" | "ban" | "unban";

export interface Report {
  id: string;
  post_id: string;
  comment_id: string | null;
  reason: Reason;
  text: string;
  created_at: string;
  status: "open" | "closed";
  outcome: "hidden" | "deleted" | "dismissed" | null;
}
export interface ReportPage {
  reports: Report[];
  next: string | null;
}

export interface Block {
  user: string;
  created_at: string;
}
export interface BlockPage {
  blocks: Block[];
  next: string | null;
}

export interface Appeal {
  text: string;
  created_at: string;
  outcome?: "dismissed" | null;
}

/** The decision in force about a post, for its creator. */
export interface PostModeration {
  id: string;
  action: string;
  reason: string | null;
  text: string | null;
  created_at: string;
  appeal: Appeal | null;
}

export interface Decision {
  id: string;
  by: string;
  action: string;
  post_id: string | null;
  comment_id: string | null;
  user: string | null;
  reason: string | null;
  text: string | null;
  until: string | null;
  created_at: string;
}
export interface OwnDecision extends Decision {
  appeal: Appeal | null;
}
export interface OwnDecisionPage {
  decisions: OwnDecision[];
  next: string | null;
}

/** A post as its creator and admins see it. */
export type ModeratedPost = Omit<Schemas["PostBody"], "status"> & {
  status: Schemas["PostStatus"] | "in_review" | "hidden";
  moderation?: PostModeration | null;
};
export interface ModeratedPostPage {
  posts: ModeratedPost[];
  next: string | null;
}

export interface QueueEntry {
  kind: "report" | "review" | "appeal" | "match";
  post: ModeratedPost | null;
  comment: Schemas["CommentBody"] | null;
  user: string | null;
  reports: number;
  reasons: Partial<Record<Reason, number>>;
  latest: { reporter: string; reason: Reason; text: string | null; created_at: string }[];
  appeal: { text: string; created_at: string } | null;
  match: { line: number | null; decision: string | null } | null;
  since: string;
}
export interface QueuePage {
  entries: QueueEntry[];
  next: string | null;
}

export type ServiceLimits = Schemas["LimitsBody"] & { rules_url?: string | null; contact?: string | null };
