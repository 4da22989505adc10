/** New posts: one or more images, each with its texts. */
import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { fileToSend, type Draft, createDraft, faultOf, makeSmaller, withPixels } from "../images";
import { checkText, limits, loadLimits } from "../limits";
import * as me from "../me";
import * as outbox from "../outbox";
import type { Entry } from "../queue";
import { texts } from "../texts";
import { storageProblem } from "./outbox";
import { Dialog, DialogTitle, TextField } from "./parts";
import { signInThen } from "./sign-in";

const isOpen = signal(false);
const drafts = signal<Draft[]>([]);
const problem = signal<string | null>(null);
/** True while images are stored: another press of `Post` would store a large image twice. */
const isStoring = signal(false);

/** The types that the file dialog offers; the service decides which it accepts. */
const ACCEPTED = "image/*,.heic,.heif,.avif";
const MAX_SIDE_SMALLER = 2048;

export function openComposer(files: File[] = []): void {
  void loadLimits();
  signInThen(() => {
    isOpen.value = true;
    void addFiles(files);
  });
}

/** Opens the composer with the image and the texts of an entry that the service has refused. `Post` replaces the entry. */
export async function editRefused({ id, work }: Entry): Promise<void> {
  const image = await outbox.image(id);
  if (work.kind !== "post" || image === undefined) return;
  const { caption, alt } = work;
  const draft = await createDraft(new File([image], work.image.name, { type: work.image.type }));
  void loadLimits();
  drafts.value = [...drafts.value.filter(({ replaces }) => replaces !== id), { ...draft, caption, alt, replaces: id }];
  isOpen.value = true;
}

async function addFiles(files: File[]): Promise<void> {
  const added = await Promise.all(files.map(createDraft));
  drafts.value = [...drafts.value, ...added];
}

function close(): void {
  for (const draft of drafts.value) URL.revokeObjectURL(draft.url);
  drafts.value = [];
  problem.value = null;
  isOpen.value = false;
}

me.sessionEnds.subscribe(close);

function change(id: number, update: (draft: Draft) => Draft): void {
  drafts.value = drafts.value.map((draft) => (draft.id === id ? update(draft) : draft));
}

function drop(id: number): void {
  drafts.value = drafts.value.filter((draft) => draft.id !== id);
}

function isValid(draft: Draft): boolean {
  const isText = !checkText("caption", draft.caption, limits.value) && !checkText("alt", draft.alt, limits.value);
  return faultOf(draft) === null && isText && draft.smaller.is !== "working";
}

async function post(event: Event): Promise<void> {
  event.preventDefault();
  if (!drafts.value.every(isValid)) {
    problem.value = texts.draftsRefused;
    return;
  }
  if (isStoring.value) return;
  isStoring.value = true;
  const isWhole = await storeDrafts().finally(() => (isStoring.value = false));
  if (isWhole) close();
}

/** Stores all drafts. Returns false at the first failure, whose reason is in `problem`. */
async function storeDrafts(): Promise<boolean> {
  for (const draft of drafts.value) {
    problem.value = await storageProblem(storeDraft(draft));
    if (problem.value !== null) return false;
    drop(draft.id);
  }
  return true;
}

async function storeDraft(draft: Draft): Promise<void> {
  const { image, type } = fileToSend(draft);
  const { caption, alt, file } = draft;
  const description = { name: file.name, type, size: image.size };
  await outbox.add({ kind: "post", caption, alt, image: description, stage: "reserve", post: null, tus: null }, image);
  if (draft.replaces !== undefined) await outbox.remove(draft.replaces);
}

/** Opens the composer for images that are dropped on the page, or pasted. */
export function useDroppedFiles(): void {
  useEffect(() => {
    const images = (files: FileList | undefined) => [...(files ?? [])];
    const onDrop = (event: DragEvent) => {
      event.preventDefault();
      if (event.dataTransfer?.files.length) openComposer(images(event.dataTransfer.files));
    };
    const onPaste = (event: ClipboardEvent) => {
      if (event.clipboardData?.files.length) openComposer(images(event.clipboardData.files));
    };
    const onDragOver = (event: DragEvent) => event.preventDefault();
    document.addEventListener("dragover", onDragOver);
    document.addEventListener("drop", onDrop);
    document.addEventListener("paste", onPaste);
    return () => {
      document.removeEventListener("dragover", onDragOver);
      document.removeEventListener("drop", onDrop);
      document.removeEventListener("paste", onPaste);
    };
  }, []);
}

export function Composer() {
  if (!isOpen.value) return null;
  return (
    <Dialog name={texts.newPost} close={close} class="composer">
      <DialogTitle close={close}>{texts.newPost}</DialogTitle>
      <form onSubmit={(event) => void post(event)}>
        <Files />
        <ul class="drafts">
          {drafts.value.map((draft) => (
            <DraftItem key={draft.id} draft={draft} />
          ))}
        </ul>
        {problem.value && (
          <p class="fault" role="alert">
            {problem.value}
          </p>
        )}
        <footer class="row end">
          <button type="button" onClick={close}>
            {texts.cancel}
          </button>
          <button class="primary" disabled={drafts.value.length === 0 || isStoring.value}>
            {texts.post}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}

function Files() {
  const input = useRef<HTMLInputElement>(null);
  const onChange = () => {
    const files = [...(input.current?.files ?? [])];
    if (input.current) input.current.value = "";
    void addFiles(files);
  };
  return (
    <div class={drafts.value.length > 0 ? "files few" : "files"}>
      <span id="images-name" class="label">
        {texts.images}
      </span>
      <input ref={input} id="images" type="file" multiple accept={ACCEPTED} aria-labelledby="images-name" aria-describedby="images-note" onChange={onChange} />
      <label for="images" class="button">
        {drafts.value.length > 0 ? texts.addImages : texts.chooseFiles}
      </label>
      <p id="images-note" class="hint">
        {texts.chooseImages}
      </p>
    </div>
  );
}

function DraftItem({ draft }: { draft: Draft }) {
  const fault = faultOf(draft);
  return (
    <li class={fault ? "draft refused" : "draft"}>
      <div role="group" aria-label={draft.file.name} class="draft-inside">
        {draft.type !== null && <Preview draft={draft} />}
        <div class="draft-fields">
          <p class="row between">
            <bdi class="file-name">{draft.file.name}</bdi>
            <button type="button" class="quiet" aria-label={texts.removeImage(draft.file.name)} onClick={() => drop(draft.id)}>
              {texts.remove}
            </button>
          </p>
          {fault && (
            <p class="fault" role="alert">
              {texts.fault(fault)}
            </p>
          )}
          {draft.type !== null && <Texts draft={draft} />}
          <SmallerChoice draft={draft} />
        </div>
      </div>
    </li>
  );
}

function Texts({ draft }: { draft: Draft }) {
  const captionFault = checkText("caption", draft.caption, limits.value);
  const altFault = checkText("alt", draft.alt, limits.value);
  const set = (texts: Partial<Draft>) => change(draft.id, (was) => ({ ...was, ...texts }));
  return (
    <>
      <TextField label={texts.caption} value={draft.caption} change={(caption) => set({ caption })} lines={2} fault={captionFault && texts.fault(captionFault)} />
      <TextField label={texts.alt} value={draft.alt} change={(alt) => set({ alt })} hint={texts.altHint} fault={altFault && texts.fault(altFault)} />
    </>
  );
}

function Preview({ draft }: { draft: Draft }) {
  const [width, height] = [draft.pixels?.width, draft.pixels?.height];
  const isBlind = draft.pixels === null && draft.fault === null;
  const onLoad = (event: { currentTarget: HTMLImageElement }) => {
    const { naturalWidth, naturalHeight } = event.currentTarget;
    change(draft.id, (was) => withPixels(was, naturalWidth, naturalHeight));
  };
  return (
    <div class="preview">
      <img src={draft.url} alt="" onLoad={onLoad} />
      {width && height ? <span class="hint">{`${width} × ${height}`}</span> : isBlind && <span class="hint">{texts.noPreview}</span>}
    </div>
  );
}

function SmallerChoice({ draft }: { draft: Draft }) {
  const { smaller, pixels } = draft;
  if (pixels === null || Math.max(pixels.width, pixels.height) <= MAX_SIDE_SMALLER) return null;
  const onChange = async (event: { currentTarget: HTMLInputElement }) => {
    const isChosen = event.currentTarget.checked;
    change(draft.id, (was) => ({ ...was, smaller: { is: isChosen ? "working" : "no" } }));
    if (!isChosen) return;
    const added = await makeSmaller(draft.file);
    change(draft.id, (was) => (was.smaller.is === "working" ? { ...was, smaller: added } : was));
  };
  return (
    <div class="choice">
      <input id={`smaller-${draft.id}`} type="checkbox" checked={smaller.is !== "no"} onChange={(event) => void onChange(event)} />
      <label for={`smaller-${draft.id}`}>{texts.smaller}</label>
      <span class="hint" role="status">
        {smallerText(draft)}
      </span>
    </div>
  );
}

function smallerText({ smaller, file }: Draft): string {
  if (smaller.is === "made") return texts.smallerSaves(file.size - smaller.image.size);
  if (smaller.is === "working") return texts.working;
  if (smaller.is === "useless") return texts.smallerNothing;
  return smaller.is === "failed" ? texts.smallerFailed : "";
}
