/** Starts the page: the stored queue and session, the feed, and the service worker. */
import { render } from "preact";
import { base } from "./api";
import * as connection from "./connection";
import * as feed from "./feed";
import * as limits from "./limits";
import * as me from "./me";
import * as offline from "./offline";
import * as outbox from "./outbox";
import * as storage from "./storage";
import "./style.css";
import { language, texts } from "./texts";
import { App } from "./views/app";
import * as route from "./views/route";
import { showSignIn } from "./views/sign-in";

document.documentElement.lang = language;
document.title = texts.title;

const publicPage = feed.readPublicPage();
const app = document.getElementById("app");
if (app !== null) {
  app.replaceChildren();
  render(<App />, app);
}

async function start(): Promise<void> {
  const name = `image-poster ${base.pathname}`;
  await outbox.open(name, await storage.open(name));
  // Now it is known whether the feed is a user's own.
  const feedStarted = feed.restartWalk(publicPage);
  feed.followUser();
  feed.watchWithheld();
  showSignIn(await me.finishSignIn());
  route.applyHash();
  await feedStarted;
  await Promise.all([me.checkIdentity(), limits.loadLimits()]);
  connection.watch();
}

void start();

if (import.meta.env.PROD && "serviceWorker" in navigator) addEventListener("load", () => void offline.registerWorker());
