/** The question before a decision that nothing undoes, or that shuts a user out. `Enter` confirms it. */
import { useState } from "preact/hooks";
import type { QueueEntry } from "../decisions";
import { decide, question, reason, userOf } from "../moderating";
import { moderationTexts } from "../moderation-texts";
import { texts } from "../texts";
import { Dialog } from "./parts";
import { reasonText } from "./reasons";

const DAY_MS = 24 * 3600 * 1000;
type Duration = keyof typeof moderationTexts.durations;
/** The days of each duration; null for a ban without end. */
const DAYS: Record<Duration, number | null> = { day: 1, week: 7, month: 30, forever: null };

export function Question({ entry, action }: { entry: QueueEntry; action: "delete" | "ban" }) {
  const [duration, setDuration] = useState<Duration>("week");
  const [blockImage, setBlockImage] = useState(false);
  const close = () => (question.value = null);
  const isPostDeletion = action === "delete" && entry.post !== null && entry.comment === null;
  const confirm = (event: Event) => {
    event.preventDefault();
    decide(action, action === "ban" ? endOf(duration) : null, isPostDeletion && blockImage);
  };
  const title = action === "ban" ? moderationTexts.banQuestion(userOf(entry)) : deletionQuestion(entry);
  return (
    <Dialog name={title} close={close} class="small" alert>
      <h2>{title}</h2>
      <p class="muted">{action === "ban" ? moderationTexts.banHint : moderationTexts.deleteUndo}</p>
      <form onSubmit={confirm}>
        <p class="row">
          {texts.reason}: <strong>{reason.value && reasonText(reason.value)}</strong>
        </p>
        {action === "ban" && <DurationChoice duration={duration} choose={setDuration} />}
        {isPostDeletion && (
          <label class="reason">
            <input type="checkbox" checked={blockImage} onChange={(event) => setBlockImage(event.currentTarget.checked)} />
            {moderationTexts.blockImage}
          </label>
        )}
        <footer class="row end">
          <button type="button" onClick={close}>
            {texts.cancel}
          </button>
          <button class="primary danger" autofocus>
            {moderationTexts.actions[action]}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}

function deletionQuestion(entry: QueueEntry): string {
  if (entry.comment !== null) return moderationTexts.deleteComment;
  return entry.post === null ? moderationTexts.deleteUser(userOf(entry)) : moderationTexts.deletePost;
}

function endOf(duration: Duration): string | null {
  const days = DAYS[duration];
  return days === null ? null : new Date(Date.now() + days * DAY_MS).toISOString();
}

function DurationChoice({ duration, choose }: { duration: Duration; choose: (duration: Duration) => void }) {
  return (
    <label class="field">
      <span class="label">{moderationTexts.duration}</span>
      <select value={duration} onChange={(event) => choose(event.currentTarget.value as Duration)}>
        {(Object.keys(DAYS) as Duration[]).map((name) => (
          <option key={name} value={name}>
            {moderationTexts.durations[name]}
          </option>
        ))}
      </select>
    </label>
  );
}
