/** Polls the service while it cannot be reached, and resumes all work when it answers. */
import { effect } from "@preact/signals";
import { reachable } from "./api";
import * as feed from "./feed";
import * as limits from "./limits";
import * as me from "./me";
import * as outbox from "./outbox";

const RETRY_MS = 5_000;

export function watch(): void {
  addEventListener("online", () => void me.checkIdentity());
  setInterval(() => {
    if (!reachable.value && !document.hidden) void me.checkIdentity();
  }, RETRY_MS);
  let before = reachable.value;
  effect(() => {
    const now = reachable.value;
    if (now && !before) void resumeAll();
    before = now;
  });
}

async function resumeAll(): Promise<void> {
  await outbox.endBackOffs();
  if (feed.state.peek() === "failed") await feed.loadMore();
  else await feed.leavePublicFeed();
  if (me.signInWay.peek() === null) await me.checkIdentity();
  await limits.loadLimits();
}
