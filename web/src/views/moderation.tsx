/** The view of the moderation queue, entry by entry, made for the keyboard. */
import { useSignalEffect } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { resolveUrl } from "../api";
import type { QueueEntry } from "../decisions";
import { actionsOf, canUndo, current, message, note, position, question, reason, skip, start, startModerating, undo } from "../moderating";
import { countText, isLoaded, openEntries } from "../moderation-queue";
import { moderationTexts } from "../moderation-texts";
import * as outbox from "../outbox";
import type { Post } from "../posts";
import { REASONS } from "../reports";
import { problemTextOrDetail, texts } from "../texts";
import type { Action } from "../works";
import { EntryFacts } from "./moderation-entry";
import { Question } from "./moderation-question";
import "./moderation.css";
import { Blur, Dialog, DialogTitle, TextField } from "./parts";
import { postName } from "./post";
import { isPrivateImage, usePrivateImage } from "./private-image";
import { Reasons, textFault } from "./reasons";

/** The key of each action, shown on its button. */
const KEYS: Record<Action, string> = { hide: "H", restore: "R", publish: "P", delete: "D", dismiss: "X", ban: "B", unban: "N" };
/** How many images are loaded before their entries come. */
const AHEAD = 2;

export default function Moderation({ close }: { close: () => void }) {
  const panel = useRef<HTMLElement>(null);
  useEffect(startModerating, []);
  useKeys(panel);
  useFailures();
  const entry = current.value;
  useEffect(() => {
    panel.current?.scrollTo(0, 0);
    panel.current?.closest("dialog")?.scrollTo(0, 0);
    // A button that is gone gives the focus to the panel, so that Tab continues here.
    if (document.activeElement === document.body) panel.current?.focus();
  }, [entry]);
  const name = texts.moderation(countText());
  return (
    <Dialog name={name} close={close} class="viewer moderation">
      <Images />
      <section ref={panel} class="aside desk" tabIndex={-1} autofocus aria-label={entry === null ? name : positionText()}>
        <DialogTitle close={close}>{name}</DialogTitle>
        {entry === null ? <p class="muted">{isLoaded.value ? moderationTexts.queueEmpty : texts.loading}</p> : <EntryPanel entry={entry} />}
        {entry === null && <Result />}
      </section>
      {question.value !== null && entry !== null && <Question entry={entry} action={question.value} />}
    </Dialog>
  );
}

function positionText(): string {
  return moderationTexts.position(position.value, countText());
}

function EntryPanel({ entry }: { entry: QueueEntry }) {
  const actions = actionsOf(entry);
  return (
    <>
      <div class="desk-facts">
        <EntryFacts entry={entry} position={position.value === 0 ? null : positionText()} />
        <Reasons chosen={reason.value} choose={(next) => (reason.value = next)} withKeys />
        <div id="note">
          <TextField
            label={moderationTexts.note}
            value={note.value}
            change={(text) => (note.value = text)}
            lines={2}
            hint={moderationTexts.noteHint}
            fault={textFault(note.value)}
          />
        </div>
        <p class="hint key-help">{moderationTexts.keys}</p>
      </div>
      <div class="desk-bar">
        <Result />
        <div class="desk-actions">
          {actions.map((action) => (
            <ActionButton key={action} name={moderationTexts.actions[action]} shortcut={KEYS[action]} act={() => start(action)} class={action} />
          ))}
          <span class="desk-steps">
            <ActionButton name={moderationTexts.nextEntry} shortcut="S" act={() => skip(1)} class="quiet" />
            <ActionButton name={moderationTexts.previousEntry} shortcut="←" act={() => skip(-1)} class="quiet" />
          </span>
        </div>
      </div>
    </>
  );
}

interface ActionProps {
  name: string;
  shortcut: string;
  act: () => void;
  class?: string;
}

function ActionButton({ name, shortcut, act, class: kind = "" }: ActionProps) {
  const key = shortcut === "←" ? "ArrowLeft" : shortcut;
  return (
    <button type="button" class={`action ${kind}`} aria-keyshortcuts={key} onClick={act}>
      {name} <kbd aria-hidden="true">{shortcut}</kbd>
    </button>
  );
}

/** The last result, and `Undo`. Screen readers also hear which entry comes next. */
function Result() {
  const isNext = current.value !== null && message.value !== "" && position.value > 0;
  return (
    <div class="desk-result">
      <p role="status">{isNext ? `${message.value}. ${positionText()}` : message.value}</p>
      {canUndo.value && <ActionButton name={moderationTexts.undo} shortcut="U" act={undo} />}
    </div>
  );
}

/** Says why the service refused a decision; its entry is then open again. */
function useFailures(): void {
  const opened = useRef(outbox.outcome.peek());
  useSignalEffect(() => {
    const last = outbox.outcome.value;
    if (last === opened.current || last?.entry.work.kind !== "decision" || last.answer.is !== "failed") return;
    message.value = problemTextOrDetail(last.answer.code, last.answer.detail);
  });
}

function isTyping(target: EventTarget | null): target is HTMLElement {
  return target instanceof HTMLElement && target.closest("textarea, select, input[type=text]") !== null;
}

function useKeys(panel: { current: HTMLElement | null }): void {
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey || question.peek() !== null) return;
      if (isTyping(event.target)) {
        if (event.key === "Escape") leaveText(event, panel.current);
      } else if (pressKey(event.key, event.target)) event.preventDefault();
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
}

/** The first `Escape` leaves the text; the next one closes the view. */
function leaveText(event: KeyboardEvent, panel: HTMLElement | null): void {
  event.preventDefault();
  panel?.focus();
}

/** Runs the action of a key; false if the key has none. */
function pressKey(key: string, target: EventTarget | null): boolean {
  const action = (Object.keys(KEYS) as Action[]).find((name) => KEYS[name] === key.toUpperCase());
  const chosen = REASONS[Number(key) - 1];
  const isChoice = target instanceof HTMLInputElement;
  if (action !== undefined) start(action);
  else if (chosen !== undefined) reason.value = chosen;
  else if (key.toUpperCase() === "U") undo();
  else if (key.toUpperCase() === "S" || (key === "ArrowRight" && !isChoice)) skip(1);
  else if (key === "ArrowLeft" && !isChoice) skip(-1);
  else if (key.toUpperCase() === "T") document.querySelector<HTMLElement>("#note textarea")?.focus();
  else return false;
  return true;
}

/** The image of the current entry, and those of the next ones, hidden until their entries come. */
function Images() {
  const entry = current.value;
  const following = openEntries.value.slice(position.value, position.value + AHEAD);
  const posts = new Map([entry, ...following].flatMap((shown) => (shown?.post ? [[shown.post.id, shown.post]] : [])));
  return (
    <div class="stage">
      {[...posts.values()].map((post) => (
        <EntryImage key={post.id} post={post} isShown={post.id === entry?.post?.id} />
      ))}
      {entry !== null && !entry.post?.image && <p class="stage-words">{entry.user === null ? moderationTexts.postGone : moderationTexts.userEntry(entry.user)}</p>}
    </div>
  );
}

function EntryImage({ post, isShown }: { post: Post; isShown: boolean }) {
  const { image } = post;
  const [loaded, setLoaded] = useState(false);
  const isPrivate = image !== null && isPrivateImage(image.large.url);
  const privateUrl = usePrivateImage(isPrivate ? image.large.url : null);
  if (image === null) return null;
  const source = isPrivate ? privateUrl : resolveUrl(image.large.url);
  const { width, height } = image.large;
  return (
    <div class="zoom" hidden={!isShown}>
      {!loaded && <Blur hash={image.placeholder} />}
      {source !== null && <img src={source} alt={post.alt || postName(post)} width={width} height={height} onLoad={() => setLoaded(true)} />}
    </div>
  );
}
