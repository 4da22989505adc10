/** While the service cannot be reached it is asked now and then; when it answers, everything goes on. */
import { effect } from "@preact/signals";
import { reachable } from "./api";
import * as feed from "./feed";
import * as limits from "./limits";
import * as me from "./me";
import * as outbox from "./outbox";

const AGAIN_MS = 5_000;

export function watch(): void {
  addEventListener("online", () => void me.ask());
  setInterval(() => {
    if (!reachable.value && !document.hidden) void me.ask();
  }, AGAIN_MS);
  let before = reachable.value;
  effect(() => {
    const now = reachable.value;
    if (now && !before) void goOn();
    before = now;
  });
}

async function goOn(): Promise<void> {
  await outbox.hurry();
  if (feed.state.peek() === "failed") await feed.more();
  if (me.signInWay.peek() === null) await me.ask();
  await limits.ask();
}
