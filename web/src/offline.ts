/** Registers the service worker, and has it cache the page's content from the first visit on. */
import * as feed from "./feed";

export async function registerWorker(): Promise<void> {
  const worker = navigator.serviceWorker;
  // A worker does not see responses that the page loaded before the worker controlled it.
  if (worker.controller === null) worker.addEventListener("controllerchange", () => void requestContentAgain(), { once: true });
  await worker.register("./service-worker.js").catch(() => undefined);
}

/** Requests the page's content once more. Images come from the browser's own cache. */
async function requestContentAgain(): Promise<void> {
  await feed.cacheFirstPage();
  for (const image of document.querySelectorAll<HTMLImageElement>("article img")) {
    if (image.complete) await requestAgain(image);
    // The worker does not see a response whose request began before the worker was active.
    else image.addEventListener("load", () => void requestAgain(image), { once: true });
  }
}

async function requestAgain(image: HTMLImageElement): Promise<void> {
  if (image.currentSrc.startsWith("http")) await fetch(image.currentSrc).catch(() => undefined);
}
