/** The queue: images with their progress, and other entries that failed or need a decision. */
import { useEffect, useState } from "preact/hooks";
import { reachable } from "../api";
import * as me from "../me";
import * as outbox from "../outbox";
import { type Entry, isActive } from "../queue";
import type { PostWork } from "../works";
import { problemTextOrDetail, problemText, texts } from "../texts";
import { waits } from "../waits";
import { editRefused } from "./composer";

/** Waits until an entry is stored. Returns null, or the reason of the failure as a sentence. */
export async function storageProblem(stored: Promise<void>): Promise<string | null> {
  try {
    await stored;
    return null;
  } catch (error) {
    const name = error instanceof DOMException ? error.name : "";
    if (name === "QuotaExceededError") return texts.storageFull;
    return /NotReadable|NotFound/.test(name) ? texts.fileUnreadable : texts.problems.page_error;
  }
}

/** The state of an entry, as a text. */
export function stateText(entry: Entry): string {
  const { state } = entry;
  if (state.is === "failed") return texts.stateFailed(problemTextOrDetail(state.code, state.detail));
  if (state.is === "asking") return state.why === "old" ? texts.stateOld : texts.stateConflict;
  if (state.is === "paused") return texts.statePaused;
  const user = me.session.value;
  if (user?.user !== entry.owner || user.expired) return texts.stateWaitingFor(entry.owner);
  if (entry.work.kind === "post" && entry.work.stage === "remove") return texts.stateRemoving;
  if (state.is === "retrying") return retryText(entry, state.why);
  if (!reachable.value) return texts.stateOffline;
  return entry.work.kind === "post" ? stageText(entry, entry.work) : texts.stateWaiting;
}

function retryText(entry: Entry, why: string | undefined): string {
  const when = texts.stateRetrying(Math.ceil(waits.remaining(entry) / 1000));
  const reason = problemText(why ?? null);
  return reason === null ? when : `${when}. ${reason}`;
}

function stageText(entry: Entry, work: PostWork): string {
  if (work.stage === "process") return texts.stateProcessing;
  if (work.stage === "reserve") return entry.firstSentAt === null ? texts.stateWaiting : texts.stateReserving;
  return texts.stateUploading(percent(entry, work));
}

function percent(entry: Entry, work: PostWork): number {
  if (work.stage === "process") return 100;
  return Math.floor(((outbox.progress.value[entry.id] ?? 0) / work.image.size) * 100);
}

/** Draws again twice a second, so that the texts count down. */
function useSeconds(counting: boolean): void {
  const [, setNow] = useState(0);
  useEffect(() => {
    if (!counting) return;
    const timer = setInterval(() => setNow(Date.now()), 500);
    return () => clearInterval(timer);
  }, [counting]);
}

export function Outbox() {
  const entries = outbox.ownEntries.value;
  useSeconds(entries.some((entry) => entry.state.is === "retrying"));
  const images = entries.filter((entry) => entry.work.kind === "post");
  const others = entries.filter((entry) => entry.work.kind !== "post" && !isActive(entry));
  return (
    <>
      {images.length > 0 && (
        <section class="outbox" aria-label={texts.uploads}>
          <h2>{texts.uploads}</h2>
          <ul>
            {images.map((entry) => (
              <ImageEntry key={entry.id} entry={entry} />
            ))}
          </ul>
        </section>
      )}
      {others.length > 0 && (
        <section class="outbox" aria-label={texts.waitingRegion}>
          <h2>{texts.waitingRegion}</h2>
          <ul>
            {others.map((entry) => (
              <OtherEntry key={entry.id} entry={entry} />
            ))}
          </ul>
        </section>
      )}
    </>
  );
}

function useThumbnail(id: number): string | null {
  const [url, setUrl] = useState<string | null>(null);
  useEffect(() => {
    let objectUrl: string | null = null;
    let isUnmounted = false;
    void outbox.image(id).then((image) => {
      if (image === undefined || isUnmounted) return;
      objectUrl = URL.createObjectURL(image);
      setUrl(objectUrl);
    });
    return () => {
      isUnmounted = true;
      if (objectUrl !== null) URL.revokeObjectURL(objectUrl);
    };
  }, [id]);
  return url;
}

function ImageEntry({ entry }: { entry: Entry }) {
  const url = useThumbnail(entry.id);
  if (entry.work.kind !== "post") return null;
  const { work, state } = entry;
  const name = work.caption || work.image.name;
  return (
    <li class={`entry ${state.is}`}>
      <span class="thumbnail">{url && <img src={url} alt="" onError={(event) => event.currentTarget.remove()} />}</span>
      <div class="entry-words">
        <p class="entry-name">
          <bdi>{name}</bdi>
        </p>
        <Progress entry={entry} work={work} name={name} />
        <p class={state.is === "failed" ? "fault" : "muted"}>{stateText(entry)}</p>
        {outbox.isInMemoryOnly(entry) && <p class="muted">{texts.inMemoryOnly}</p>}
      </div>
      {work.stage !== "remove" && <ImageButtons entry={entry} />}
    </li>
  );
}

function Progress({ entry, work, name }: { entry: Entry; work: PostWork; name: string }) {
  const percentDone = percent(entry, work);
  const isOpen = work.stage === "process" && isActive(entry);
  return (
    <div
      class={isOpen ? "progress open" : "progress"}
      role="progressbar"
      aria-label={texts.progressOf(name)}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={isOpen ? undefined : percentDone}
      aria-valuetext={stateText(entry)}
    >
      <span style={{ inlineSize: `${percentDone}%` }} />
    </div>
  );
}

function ImageButtons({ entry }: { entry: Entry }) {
  const { state } = entry;
  const isTextRefused = state.is === "failed" && state.code === "text_blocked";
  return (
    <div class="row entry-buttons">
      {isTextRefused ? (
        <button type="button" class="quiet" onClick={() => void editRefused(entry)}>
          {texts.edit}
        </button>
      ) : isActive(entry) ? (
        <button type="button" class="quiet" onClick={() => void outbox.pause(entry.id)}>
          {texts.pause}
        </button>
      ) : (
        <button type="button" class="quiet" onClick={() => void outbox.resume(entry.id)}>
          {state.is === "paused" ? texts.resume : state.is === "asking" ? texts.sendAgain : texts.tryAgain}
        </button>
      )}
      <button type="button" class="quiet" onClick={() => void outbox.remove(entry.id)}>
        {texts.remove}
      </button>
    </div>
  );
}

function title(entry: Entry): string {
  const { work } = entry;
  switch (work.kind) {
    case "comment":
      return texts.waitingComment(work.content);
    case "edit post":
      return texts.waitingEdit(work.caption || work.alt);
    case "edit comment":
      return texts.waitingEdit(work.content);
    case "delete comment":
      return texts.waitingCommentDeletion;
    case "report":
      return texts.waitingReport;
    case "block":
      return texts.waitingBlock(work.user);
    case "unblock":
      return texts.waitingUnblock(work.user);
    case "appeal":
      return texts.waitingAppeal(work.text);
    case "decision":
      return texts.waitingDecision;
    default:
      return texts.waitingDeletion;
  }
}

function OtherEntry({ entry }: { entry: Entry }) {
  const { state } = entry;
  const isConflict = state.is === "asking" && state.why === "conflict";
  return (
    <li class={`entry ${state.is}`}>
      <div class="entry-words">
        {!isConflict && (
          <p class="entry-name" dir="auto">
            {title(entry)}
          </p>
        )}
        <p class={state.is === "failed" ? "fault" : "muted"}>{stateText(entry)}</p>
        {isConflict && <BothTexts entry={entry} theirs={state.theirs} />}
      </div>
      <div class="row entry-buttons">{isConflict ? <ConflictButtons id={entry.id} /> : <RetryButtons entry={entry} />}</div>
    </li>
  );
}

function ConflictButtons({ id }: { id: number }) {
  return (
    <>
      <button type="button" class="primary" onClick={() => void outbox.useMine(id)}>
        {texts.useMine}
      </button>
      <button type="button" onClick={() => void outbox.remove(id)}>
        {texts.useTheirs}
      </button>
    </>
  );
}

function RetryButtons({ entry }: { entry: Entry }) {
  const isOld = entry.state.is === "asking";
  return (
    <>
      <button type="button" class="quiet" onClick={() => void outbox.resume(entry.id)}>
        {isOld ? texts.sendAgain : texts.tryAgain}
      </button>
      <button type="button" class="quiet" onClick={() => void outbox.remove(entry.id)}>
        {texts.remove}
      </button>
    </>
  );
}

function BothTexts({ entry, theirs }: { entry: Entry; theirs: Record<string, string> }) {
  const labels: Record<string, string> = { caption: texts.caption, alt: texts.alt, content: texts.comment };
  const work = entry.work as unknown as Record<string, string>;
  const changed = Object.keys(theirs).filter((field) => theirs[field] !== work[field]);
  return (
    <dl class="both">
      {changed.map((field) => (
        <>
          <dt>
            {texts.mine} ({labels[field]})
          </dt>
          <dd dir="auto">{work[field] || "–"}</dd>
          <dt>
            {texts.theirs} ({labels[field]})
          </dt>
          <dd dir="auto">{theirs[field] || "–"}</dd>
        </>
      ))}
    </dl>
  );
}
