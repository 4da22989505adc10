/** The work of a queue entry: a post, a comment, or another write that the service does not have yet. */
import type { components } from "./schema";

export type Reason = components["schemas"]["Reason"];
/** An action that admins may decide; the log has others too. */
export type Action = Exclude<components["schemas"]["Action"], "reject" | "edit">;

export interface PostTexts {
  caption: string;
  alt: string;
}

export interface PostWork extends PostTexts {
  kind: "post";
  image: { name: string; type: string; size: number };
  stage: "reserve" | "upload" | "process" | "remove";
  /** The id of the post, once it is reserved. */
  post: string | null;
  tus: string | null;
}
export interface CommentWork {
  kind: "comment";
  post: string;
  content: string;
}
/** `base`: the texts that the user saw. The edit applies only while the service still has them. */
export interface PostEdit extends PostTexts {
  kind: "edit post";
  post: string;
  base: PostTexts;
}
export interface CommentEdit {
  kind: "edit comment";
  post: string;
  comment: string;
  content: string;
  base: { content: string };
}
export interface PostDeletion {
  kind: "delete post";
  post: string;
}
export interface CommentDeletion {
  kind: "delete comment";
  post: string;
  comment: string;
}
/** `comment`: null for a report of the post itself. */
export interface ReportWork {
  kind: "report";
  post: string;
  comment: string | null;
  reason: Reason;
  text: string;
}
export interface BlockWork {
  kind: "block";
  user: string;
}
export interface UnblockWork {
  kind: "unblock";
  user: string;
}
/** `decision`: the id of the decision that the user does not accept. */
export interface AppealWork {
  kind: "appeal";
  decision: string;
  text: string;
}
/** The subject of a decision: a post, a comment of a post, or a user. */
export type Subject = { post: string; comment: string | null } | { user: string };

/** A decision of an admin. */
export interface DecisionWork {
  kind: "decision";
  subject: Subject;
  action: Action;
  reason: Reason | null;
  text: string;
  /** The end of a ban (RFC 3339); null for a ban without end. */
  until: string | null;
  blockImage: boolean;
}

export type Work =
  | PostWork
  | CommentWork
  | PostEdit
  | CommentEdit
  | PostDeletion
  | CommentDeletion
  | ReportWork
  | BlockWork
  | UnblockWork
  | AppealWork
  | DecisionWork;

/** A name for the subject, equal for equal subjects. */
export function subjectName(subject: Subject): string {
  if ("user" in subject) return `user ${subject.user}`;
  return subject.comment === null ? `post ${subject.post}` : `comment ${subject.comment}`;
}

/** Works of one lane are sent one after the other, in the order of creation. */
export function laneOfWork(work: Exclude<Work, PostWork>): string {
  switch (work.kind) {
    case "comment":
      return `comments of ${work.post}`;
    case "edit post":
    case "delete post":
      return `post ${work.post}`;
    case "edit comment":
    case "delete comment":
      return `comment ${work.comment}`;
    case "report":
      return `report of ${work.comment ?? work.post}`;
    case "block":
    case "unblock":
      return `block of ${work.user}`;
    case "appeal":
      return `appeal against ${work.decision}`;
    case "decision":
      return `decision about ${subjectName(work.subject)}`;
  }
}
