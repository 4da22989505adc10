/** The facts of an entry of the moderation queue: content, reports, appeal, match. */
import type { ComponentChildren } from "preact";
import type { Schemas } from "../api";
import type { QueueEntry } from "../decisions";
import { moderationTexts } from "../moderation-texts";
import { creatorName } from "../posts";
import { exactTime, texts } from "../texts";
import { Time } from "./parts";
import { reasonText } from "./reasons";
import { DecisionReason } from "./withheld";

export function EntryFacts({ entry, position }: { entry: QueueEntry; position: string | null }) {
  const { kind, since, reports } = entry;
  return (
    <>
      <p class="row between">
        <span>
          <strong>{reports > 0 ? moderationTexts.reportCount(reports) : moderationTexts.kinds[kind]}</strong> <Time at={since} edited={null} />
        </span>
        <span class="muted">{position}</span>
      </p>
      <ReasonCounts reasons={entry.reasons} />
      <Content entry={entry} />
      {entry.appeal?.decision && <AppealedDecision decision={entry.appeal.decision} />}
      {entry.appeal && <Quote title={moderationTexts.kinds.appeal} text={entry.appeal.text} at={entry.appeal.created_at} />}
      {entry.match && <p>{matchText(entry.match)}</p>}
      <LatestReports entry={entry} />
    </>
  );
}

function matchText({ line, decision }: NonNullable<QueueEntry["match"]>): string {
  if (line !== null) return moderationTexts.matchOf.line(line);
  return decision === null ? "" : moderationTexts.matchOf.decision(decision);
}

function ReasonCounts({ reasons }: { reasons: QueueEntry["reasons"] }) {
  const counts = Object.entries(reasons);
  if (counts.length === 0) return null;
  return (
    <ul class="reason-counts">
      {counts.map(([reason, count]) => (
        <li key={reason}>
          {reasonText(reason)} {count}
        </li>
      ))}
    </ul>
  );
}

/** The reported texts: the comment, the caption with the alt text, or the user's name. */
function Content({ entry }: { entry: QueueEntry }) {
  const { post, comment, user } = entry;
  if (user !== null) return <p class="who">{moderationTexts.userEntry(user)}</p>;
  if (comment !== null) return <Quote title={texts.commentBy(creatorName(comment))} text={comment.content} at={comment.created_at} />;
  if (entry.comment_id !== null) return <p class="who">{moderationTexts.commentGone}</p>;
  if (post === null) return <p class="who">{moderationTexts.postGone}</p>;
  return (
    <Quote title={texts.imageBy(creatorName(post))} text={post.caption} at={post.created_at} note={stateText(post.status)}>
      {post.alt && (
        <p class="content" dir="auto">
          <span class="muted">{texts.alt}:</span> {post.alt}
        </p>
      )}
    </Quote>
  );
}

/** The decision that an appeal is against. */
function AppealedDecision({ decision }: { decision: Schemas["DecisionBody"] }) {
  const { action, by, until, created_at: at } = decision;
  const title = moderationTexts.decidedBy((moderationTexts.done as Record<string, string>)[action] ?? action, by);
  return (
    <blockquote class="quote">
      <p class="by">
        <bdi class="who">{title}</bdi> <Time at={at} edited={null} />
      </p>
      <DecisionReason decision={decision} />
      {action === "ban" && <p class="hint">{until === null ? moderationTexts.forGood : moderationTexts.until(exactTime(until))}</p>}
    </blockquote>
  );
}

function stateText(status: string): string | null {
  return status === "hidden" || status === "in_review" ? texts.notice[status] : null;
}

interface QuoteProps {
  title: string;
  text: string | null;
  at: string;
  note?: string | null;
  children?: ComponentChildren;
}

function Quote({ title, text, at, note, children }: QuoteProps) {
  return (
    <blockquote class="quote">
      <p class="by">
        <bdi class="who">{title}</bdi> <Time at={at} edited={null} />
      </p>
      {text && (
        <p class="content" dir="auto">
          {text}
        </p>
      )}
      {children}
      {note && <p class="hint">{note}</p>}
    </blockquote>
  );
}

function LatestReports({ entry }: { entry: QueueEntry }) {
  if (entry.latest.length === 0) return null;
  return (
    <ul class="latest-reports">
      {entry.latest.map((report) => (
        <li key={`${report.reporter} ${report.created_at}`}>
          <p class="by">
            {report.reporter && <bdi class="who">{report.reporter}</bdi>} <span>{reasonText(report.reason)}</span> <Time at={report.created_at} edited={null} />
          </p>
          {report.text && (
            <p class="content" dir="auto">
              {report.text}
            </p>
          )}
        </li>
      ))}
    </ul>
  );
}
