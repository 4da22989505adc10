/** Has the service worker keep what is seen, from the first visit on. */
import * as feed from "./feed";

export async function prepare(): Promise<void> {
  const worker = navigator.serviceWorker;
  // What this page has loaded before there was a worker, that one has not seen.
  if (worker.controller === null) worker.addEventListener("controllerchange", () => void showAgain(), { once: true });
  await worker.register("./service-worker.js").catch(() => undefined);
}

/** Asks once more for what is on the page: the images come from the browser's own cache. */
async function showAgain(): Promise<void> {
  await feed.keepForLater();
  const images = [...document.querySelectorAll<HTMLImageElement>("article img")].filter((image) => image.complete);
  const urls = images.map((image) => image.currentSrc).filter((url) => url.startsWith("http"));
  for (const url of urls) await fetch(url).catch(() => undefined);
}
