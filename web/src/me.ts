/**
 * The session, and the way to sign in (`GET /me`). The session is stored on the device, so that a crash does
 * not lose it. A session with an expired token stays, as `expired`, until its user signs in again or signs out.
 *
 * All tabs share one session. Each change compares the stored session with the expected one, so that a tab that
 * renews a token does not undo another tab's `Sign out`.
 */
import { batch, computed, signal } from "@preact/signals";
import { base, type Identity, problemOf, request, type Schemas, UnreachableError } from "./api";
import type { Renewal, Tokens } from "./oidc";
import type { SendingUser } from "./sending";
import type { Storage } from "./storage";

export type SignIn = Schemas["SignIn"];

export interface Session {
  /** Unique for each credential. */
  id: string;
  user: string;
  name: string;
  admin: boolean;
  identity: Identity;
  expired: boolean;
  /** Set if the token is from an issuer, which may renew it. */
  renewal: Renewal | null;
}

export const session = signal<Session | null>(null);
/** The number of sessions that have ended on this page: by `Sign out` in any tab, or by another user. */
export const sessionEnds = signal(0);
/** The service's way to sign in; null until it has answered. */
export const signInWay = signal<SignIn | null>(null);

/** The user who may send; null if signed out, or if the token has expired. */
export const sendingUser = computed<SendingUser | null>(() => {
  const now = session.value;
  return now === null || now.expired ? null : { user: now.user, identity: now.identity };
});

const ME = "me";
/** Set after `Sign out`: the issuer must ask the next user for credentials, even if it has a session. */
const ASK_AT_ISSUER = "ask at issuer";

let storage: Storage;
let notifyTabs: () => void;

/** Reads the stored session. `notify` has the other tabs call `reload`. */
export async function restore(device: Storage, notify: () => void): Promise<void> {
  storage = device;
  notifyTabs = notify;
  // A tab that the browser suspended may have missed a notification.
  addEventListener("pageshow", () => void reload());
  document.addEventListener("visibilitychange", () => void reload());
  await reload();
}

export async function reload(): Promise<void> {
  showSession((await storage.get<Session>(ME)) ?? null);
}

function showSession(next: Session | null): void {
  const current = session.peek();
  const isSame = current?.id === next?.id && current?.expired === next?.expired && current?.admin === next?.admin;
  if (isSame && (current === null) === (next === null)) return;
  batch(() => {
    session.value = next;
    if (current !== null && current.user !== next?.user) sessionEnds.value += 1;
  });
}

/** Replaces the session `current` by `next`, unless another tab has ended or replaced `current`. */
async function replace(current: Session, next: Session): Promise<void> {
  const isCurrent = (stored: Session | undefined) => stored !== undefined && stored.id === current.id;
  showSession((await storage.update<Session>(ME, (stored) => (isCurrent(stored) ? next : stored))) ?? null);
  notifyTabs();
}

/** Asks the service for the user of the session. Offline, the stored session stays. */
export async function checkIdentity(): Promise<void> {
  const current = session.value;
  try {
    const reply = await request("GET", "me", { identity: current?.identity ?? null });
    if (reply.status === 401 && current !== null) await expire(current);
    const me = reply.status === 200 ? reply : await request("GET", "me");
    if (me.status === 200) await applySignInWay(me.body as Schemas["Me"]);
    if (reply.status === 200 && current !== null) await applyAdmin(current, reply.body as Schemas["Me"]);
  } catch (error) {
    if (!(error instanceof UnreachableError)) throw error;
  }
}

async function applySignInWay(me: Schemas["Me"]): Promise<void> {
  signInWay.value = me.auth;
  const current = session.value;
  // The service was restarted with another `auth`.
  if (current !== null && current.identity.mode !== me.auth.mode) await expire(current);
}

/** The operator may have made the user an admin, or no longer one. */
async function applyAdmin(current: Session, me: Schemas["Me"]): Promise<void> {
  if (me.user === current.user && me.admin !== current.admin) await replace(current, { ...current, admin: me.admin });
}

/** `code`: the reason of `put off`, which says nothing about the credential. */
export type SignInOutcome = { is: "signed in" } | { is: "refused" } | { is: "unreachable" } | { is: "put off"; code: string };

/** Signs in by a credential from the user, or from the issuer. */
export async function signIn(identity: Identity, renewal: Renewal | null = null): Promise<SignInOutcome> {
  const next = await sessionOf(identity, renewal);
  if ("is" in next) return next;
  await storage.set(ME, next);
  showSession(next);
  notifyTabs();
  return { is: "signed in" };
}

async function sessionOf(identity: Identity, renewal: Renewal | null): Promise<Session | SignInOutcome> {
  try {
    const reply = await request("GET", "me", { identity });
    const me = reply.body as Schemas["Me"] | null;
    if (reply.status > 401) return { is: "put off", code: problemOf(reply).code };
    if (reply.status !== 200 || !me?.user) return { is: "refused" };
    const { user, admin } = me;
    return { id: newId(), user, name: me.name ?? user, admin, identity, expired: false, renewal };
  } catch (error) {
    if (error instanceof UnreachableError) return { is: "unreachable" };
    throw error;
  }
}

/** 128 random bits; `crypto.randomUUID` exists only in secure contexts. */
export function newId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Expires the session if the refused credential is still its own. */
export async function rejectCredential(identity: Identity): Promise<void> {
  const current = session.value;
  if (current?.identity.credential === identity.credential) await expire(current);
}

/** Marks a session as expired, then renews its token if the issuer can do so without the user. */
async function expire(current: Session): Promise<void> {
  if (current.expired) return;
  await replace(current, { ...current, expired: true });
  if (current.renewal) await inOneTab(() => renew(current, current.renewal as Renewal));
}

/** Runs a task in one tab at a time: a refresh token may be valid only once. */
async function inOneTab(act: () => Promise<void>): Promise<void> {
  if (navigator.locks === undefined) await act();
  else await navigator.locks.request(`image-poster ${base.pathname} renewal`, act);
}

async function renew(current: Session, renewal: Renewal): Promise<void> {
  await reload();
  if (session.peek()?.id !== current.id) return;
  const oidc = await import("./oidc");
  const tokens = await oidc.renewTokens(renewal, storage);
  if (tokens === null) return;
  const next = await sessionOf(...credentialOf(tokens));
  if (!("is" in next)) await replace(current, next);
}

function credentialOf(tokens: Tokens): [Identity, Renewal] {
  return [{ mode: "jwt", credential: tokens.access }, tokens.renewal];
}

/** Opens the issuer's page; `finishSignIn` handles its redirect. */
export async function leaveForIssuer(way: SignIn): Promise<void> {
  const oidc = await import("./oidc");
  await oidc.openIssuer(way, storage, (await storage.get<boolean>(ASK_AT_ISSUER)) === true);
}

/** Handles the redirect from the issuer's page; null if there is none. */
export async function finishSignIn(): Promise<SignInOutcome | null> {
  const query = new URLSearchParams(location.search);
  if (!query.has("state") || !(query.has("code") || query.has("error"))) return null;
  const returnUrl = location.href;
  history.replaceState(null, "", location.pathname);
  await checkIdentity();
  if (!signInWay.value?.client_id) return null;
  const oidc = await import("./oidc");
  const tokens = await oidc.finishSignIn(signInWay.value, storage, returnUrl);
  if (tokens === null) return { is: "refused" };
  const outcome = await signIn(...credentialOf(tokens));
  if (outcome.is === "signed in") await storage.set(ASK_AT_ISSUER, undefined);
  return outcome;
}

/** Signs out in all tabs, then at the issuer by its page. `keepPage`: this page stays open instead. */
export async function signOut(keepPage: boolean): Promise<void> {
  const current = session.value;
  await storage.set(ME, undefined);
  if (current?.renewal) await storage.set(ASK_AT_ISSUER, true);
  for (const name of await storage.names()) if (name !== ASK_AT_ISSUER && name !== ME) await storage.set(name, undefined);
  showSession(null);
  notifyTabs();
  const renewal = current?.renewal;
  if (!renewal || keepPage) return;
  // Offline, neither that script nor the issuer can be loaded.
  const url = await import("./oidc").then((oidc) => oidc.endSessionUrl(renewal, storage)).catch(() => null);
  // Another user may have signed in during the request.
  if (url !== null && session.peek() === null) location.assign(url);
}
