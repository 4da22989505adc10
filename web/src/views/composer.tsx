/** New posts: one or more images, each with its texts. */
import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { chosen, type Draft, draft, faultOf, makeSmaller, measured } from "../images";
import { ask as askLimits, checkText, limits } from "../limits";
import * as me from "../me";
import * as outbox from "../outbox";
import { texts } from "../texts";
import { keeping } from "./outbox";
import { Dialog, DialogTitle, TextField } from "./parts";
import { signInThen } from "./sign-in";

const isOpen = signal(false);
const drafts = signal<Draft[]>([]);
const problem = signal<string | null>(null);
/** A large image takes a moment to store: another press of `Post` would store it twice. */
const isStoring = signal(false);

/** Files of these are offered; which ones are taken is for the service to say. */
const ACCEPTED = "image/*,.heic,.heif,.avif";
const MAX_SIDE_SMALLER = 2048;

export function compose(files: Iterable<File> = []): void {
  const given = [...files];
  void askLimits();
  signInThen(() => {
    isOpen.value = true;
    void addFiles(given);
  });
}

async function addFiles(files: File[]): Promise<void> {
  const made = await Promise.all(files.map(draft));
  drafts.value = [...drafts.value, ...made];
}

function close(): void {
  for (const one of drafts.value) URL.revokeObjectURL(one.url);
  drafts.value = [];
  problem.value = null;
  isOpen.value = false;
}

me.departures.subscribe(close);

function change(id: number, how: (draft: Draft) => Draft): void {
  drafts.value = drafts.value.map((one) => (one.id === id ? how(one) : one));
}

function drop(id: number): void {
  drafts.value = drafts.value.filter((one) => one.id !== id);
}

function isGood(one: Draft): boolean {
  const isText = !checkText("caption", one.caption, limits.value) && !checkText("alt", one.alt, limits.value);
  return faultOf(one) === null && isText && one.smaller.is !== "working";
}

async function post(event: Event): Promise<void> {
  event.preventDefault();
  if (!drafts.value.every(isGood)) {
    problem.value = texts.refusedSome;
    return;
  }
  if (isStoring.value) return;
  isStoring.value = true;
  const isWhole = await storeDrafts().finally(() => (isStoring.value = false));
  if (isWhole) close();
}

/** Whether all of them are stored; else `problem` says why not. */
async function storeDrafts(): Promise<boolean> {
  for (const one of drafts.value) {
    problem.value = await keeping(keep(one));
    if (problem.value !== null) return false;
    drop(one.id);
  }
  return true;
}

function keep(one: Draft): Promise<void> {
  const { image, type } = chosen(one);
  const { caption, alt, file } = one;
  const about = { name: file.name, type, size: image.size };
  return outbox.add({ kind: "post", caption, alt, image: about, stage: "reserve", post: null, tus: null }, image);
}

/** Images that are dropped on the page, or pasted, are for a new post. */
export function useFilesOfPage(): void {
  useEffect(() => {
    const images = (given: FileList | undefined) => [...(given ?? [])];
    const onDrop = (event: DragEvent) => {
      event.preventDefault();
      if (event.dataTransfer?.files.length) compose(images(event.dataTransfer.files));
    };
    const onPaste = (event: ClipboardEvent) => {
      if (event.clipboardData?.files.length) compose(images(event.clipboardData.files));
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
          {drafts.value.map((one) => (
            <DraftItem key={one.id} one={one} />
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
    <div class="files">
      <label for="images">{texts.images}</label>
      <input ref={input} id="images" type="file" multiple accept={ACCEPTED} aria-describedby="images-note" onChange={onChange} />
      <p id="images-note" class="hint">
        {texts.chooseImages}
      </p>
    </div>
  );
}

function DraftItem({ one }: { one: Draft }) {
  const fault = faultOf(one);
  return (
    <li class={fault ? "draft refused" : "draft"}>
      <div role="group" aria-label={one.file.name} class="draft-inside">
        {one.type !== null && <Preview one={one} />}
        <div class="draft-fields">
          <p class="row between">
            <bdi class="file-name">{one.file.name}</bdi>
            <button type="button" class="quiet" aria-label={texts.removeImage(one.file.name)} onClick={() => drop(one.id)}>
              {texts.remove}
            </button>
          </p>
          {fault && (
            <p class="fault" role="alert">
              {texts.fault(fault)}
            </p>
          )}
          {one.type !== null && <Texts one={one} />}
          <SmallerChoice one={one} />
        </div>
      </div>
    </li>
  );
}

function Texts({ one }: { one: Draft }) {
  const captionFault = checkText("caption", one.caption, limits.value);
  const altFault = checkText("alt", one.alt, limits.value);
  const set = (texts: Partial<Draft>) => change(one.id, (was) => ({ ...was, ...texts }));
  return (
    <>
      <TextField label={texts.caption} value={one.caption} change={(caption) => set({ caption })} lines={2} fault={captionFault && texts.fault(captionFault)} />
      <TextField label={texts.alt} value={one.alt} change={(alt) => set({ alt })} hint={texts.altHint} fault={altFault && texts.fault(altFault)} />
    </>
  );
}

function Preview({ one }: { one: Draft }) {
  const [width, height] = [one.pixels?.width, one.pixels?.height];
  const isBlind = one.pixels === null && one.fault === null;
  const onLoad = (event: { currentTarget: HTMLImageElement }) => {
    const { naturalWidth, naturalHeight } = event.currentTarget;
    change(one.id, (was) => measured(was, naturalWidth, naturalHeight));
  };
  return (
    <div class="preview">
      <img src={one.url} alt="" onLoad={onLoad} />
      {width && height ? <span class="hint">{`${width} × ${height}`}</span> : isBlind && <span class="hint">{texts.noPreview}</span>}
    </div>
  );
}

function SmallerChoice({ one }: { one: Draft }) {
  const { smaller, pixels } = one;
  if (pixels === null || Math.max(pixels.width, pixels.height) <= MAX_SIDE_SMALLER) return null;
  const onChange = async (event: { currentTarget: HTMLInputElement }) => {
    const wanted = event.currentTarget.checked;
    change(one.id, (was) => ({ ...was, smaller: { is: wanted ? "working" : "no" } }));
    if (!wanted) return;
    const made = await makeSmaller(one.file);
    change(one.id, (was) => (was.smaller.is === "working" ? { ...was, smaller: made } : was));
  };
  return (
    <div class="choice">
      <input id={`smaller-${one.id}`} type="checkbox" checked={smaller.is !== "no"} onChange={(event) => void onChange(event)} />
      <label for={`smaller-${one.id}`}>{texts.smaller}</label>
      <span class="hint" role="status">
        {saying(one)}
      </span>
    </div>
  );
}

function saying({ smaller, file }: Draft): string {
  if (smaller.is === "made") return texts.smallerSaves(file.size - smaller.image.size);
  if (smaller.is === "working") return texts.working;
  if (smaller.is === "useless") return texts.smallerNothing;
  return smaller.is === "failed" ? texts.smallerFailed : "";
}
