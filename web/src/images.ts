/** An image on the device before it is posted: what it is, whether it will be taken, and a smaller one. */
import { checkFile, checkPixels, type Fault, limits } from "./limits";

export interface Draft {
  /** Tells drafts apart on the page. */
  id: number;
  file: File;
  /** For `<img>`; to be revoked. */
  url: string;
  type: string | null;
  fault: Fault | null;
  /** Null until known, or where this browser cannot decode it. */
  pixels: { width: number; height: number } | null;
  caption: string;
  alt: string;
  smaller: Smaller;
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

/** Once the preview has said how large it is. */
export function withPixels(createDraft: Draft, width: number, height: number): Draft {
  return { ...createDraft, pixels: { width, height }, fault: createDraft.fault ?? checkPixels(width, height, limits.value) };
}

/** What will be sent, and as what. */
export function fileToSend(createDraft: Draft): { image: Blob; type: string } {
  if (createDraft.smaller.is === "made") return { image: createDraft.smaller.image, type: "image/jpeg" };
  return { image: createDraft.file, type: createDraft.type ?? createDraft.file.type };
}

/** What is wrong with it as it will be sent: a smaller one has neither too many bytes nor pixels. */
export function faultOf(createDraft: Draft): Fault | null {
  const isCured = createDraft.smaller.is === "made" && (createDraft.fault?.is === "pixels" || createDraft.fault?.is === "bytes");
  return isCured ? null : createDraft.fault;
}

/** By canvas, in a worker, so that the page stays alive. */
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
