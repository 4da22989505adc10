/** Images on the device before they are posted: their type and faults, and smaller versions. */
import { checkFile, checkPixels, type Fault, limits } from "./limits";

export interface Draft {
  /** Identifies the draft on the page. */
  id: number;
  file: File;
  /** An object URL for `<img>`, which must be revoked. */
  url: string;
  type: string | null;
  fault: Fault | null;
  /** Null until the preview is loaded, and if this browser cannot decode the image. */
  pixels: { width: number; height: number } | null;
  caption: string;
  alt: string;
  smaller: Smaller;
  /** The id of the refused entry that this draft replaces. */
  replaces?: number;
}

export type Smaller = { is: "no" } | { is: "working" } | { is: "made"; image: Blob } | { is: "useless" } | { is: "failed" };

let count = 0;

export async function createDraft(file: File): Promise<Draft> {
  const checked = await checkFile(file, limits.value);
  const isType = typeof checked === "string";
  return {
    id: (count += 1),
    file,
    url: URL.createObjectURL(file),
    type: isType ? checked : null,
    fault: isType ? null : checked,
    pixels: null,
    caption: "",
    alt: "",
    smaller: { is: "no" },
  };
}

/** The draft with the size of its image in pixels, known from the preview. */
export function withPixels(createDraft: Draft, width: number, height: number): Draft {
  return { ...createDraft, pixels: { width, height }, fault: createDraft.fault ?? checkPixels(width, height, limits.value) };
}

/** The file to send, and its media type. */
export function fileToSend(createDraft: Draft): { image: Blob; type: string } {
  if (createDraft.smaller.is === "made") return { image: createDraft.smaller.image, type: "image/jpeg" };
  return { image: createDraft.file, type: createDraft.type ?? createDraft.file.type };
}

/** The fault of the file to send; a smaller version has neither too many bytes nor too many pixels. */
export function faultOf(createDraft: Draft): Fault | null {
  const isCured = createDraft.smaller.is === "made" && (createDraft.fault?.is === "pixels" || createDraft.fault?.is === "bytes");
  return isCured ? null : createDraft.fault;
}

/** Scales an image in a worker, so that the page stays responsive. */
export function makeSmaller(file: File): Promise<Smaller> {
  return new Promise((resolve) => {
    const worker = new Worker(new URL("./smaller.worker.ts", import.meta.url), { type: "module" });
    const end = (smaller: Smaller) => {
      worker.terminate();
      resolve(smaller);
    };
    worker.onmessage = (message: MessageEvent<Blob | null>) => {
      const image = message.data;
      if (image === null) end({ is: "failed" });
      else end(image.size < file.size ? { is: "made", image } : { is: "useless" });
    };
    worker.onerror = () => end({ is: "failed" });
    worker.postMessage(file);
  });
}
