/** The status line: the state of the queue, and the last result. */
import { useSignalEffect } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import { reachable } from "../api";
import * as me from "../me";
import * as outbox from "../outbox";
import { isActive, type Answer, type Entry } from "../queue";
import { texts } from "../texts";

const SHOWN_MS = 5_000;

function resultText(entry: Entry, answer: Answer): string | null {
  if (answer.is === "failed" || answer.is === "conflict") return texts.sendingFailed;
  if (answer.is === "gone") return entry.work.kind.startsWith("delete") ? texts.doneDeletion : texts.goneMeanwhile;
  if (answer.is !== "done") return null;
  const { work } = entry;
  if (work.kind === "post") return work.stage === "remove" ? null : texts.donePost;
  if (work.kind === "comment") return texts.doneComment;
  return work.kind.startsWith("edit") ? texts.doneEdit : texts.doneDeletion;
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
  useEffect(() => {
    if (shown === null) return;
    const timer = setTimeout(() => setShown(null), SHOWN_MS);
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
