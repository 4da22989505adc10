/** The status line: the state of the queue, and the last result. */
import { signal, useSignalEffect } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import { reachable } from "../api";
import * as me from "../me";
import * as outbox from "../outbox";
import { isActive, type Answer, type Entry } from "../queue";
import { texts } from "../texts";
import type { Work } from "../works";

const SHOWN_MS = 5_000;
/** A result that is no entry's, as a sentence. It outlives the session that it ends. */
export const notice = signal<string | null>(null);

function resultText(entry: Entry, answer: Answer): string | null {
  if (answer.is === "failed" || answer.is === "conflict") return texts.sendingFailed;
  if (answer.is === "gone") return entry.work.kind.startsWith("delete") ? texts.doneDeletion : texts.goneMeanwhile;
  if (answer.is !== "done") return null;
  return doneText(entry.work, answer.inReview === true);
}

function doneText(work: Work, isInReview: boolean): string | null {
  switch (work.kind) {
    case "post":
      if (work.stage === "remove") return null;
      return isInReview ? texts.doneInReview : texts.donePost;
    case "comment":
      return texts.doneComment;
    case "edit post":
    case "edit comment":
      return texts.doneEdit;
    case "delete post":
    case "delete comment":
      return texts.doneDeletion;
    case "report":
      return work.comment === null ? texts.doneReport : texts.doneCommentReport;
    case "block":
      return texts.doneBlock(work.user);
    case "unblock":
      return texts.doneUnblock(work.user);
    case "appeal":
      return texts.doneAppeal;
    case "decision":
      return texts.doneDecision;
  }
}

/** The text of the last result, for some seconds. */
function useLastResult(): string | null {
  const [shown, setShown] = useState<string | null>(null);
  useSignalEffect(() => {
    const last = outbox.outcome.value;
    if (last === null) return;
    const result = resultText(last.entry, last.answer);
    if (result !== null) setShown(result);
  });
  useSignalEffect(() => {
    if (notice.value !== null) setShown(notice.value);
  });
  useEffect(() => {
    if (shown === null) return;
    const timer = setTimeout(() => {
      setShown(null);
      notice.value = null;
    }, SHOWN_MS);
    return () => clearTimeout(timer);
  }, [shown]);
  return shown;
}

function queueText(): string | null {
  const active = outbox.ownEntries.value.filter(isActive).length;
  const all = outbox.ownEntries.value.length;
  if (!reachable.value) return all > 0 ? texts.offlineWaiting(all) : texts.offline;
  if (all > 0 && me.sendingUser.value === null) return texts.signInAgain(all);
  return active > 0 ? texts.sending(active) : null;
}

export function Status() {
  const result = useLastResult();
  const queue = queueText();
  const isOff = !reachable.value;
  return (
    <div role="status" class={isOff ? "status off" : "status"}>
      {[queue, result].filter(Boolean).map((line) => (
        <span key={line}>{line}</span>
      ))}
    </div>
  );
}
