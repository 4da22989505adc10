/**
 * The session, and the way to sign in (`GET /me`). The session is stored on the device, so that a crash does
 * not lose it; one whose token ran out stays, as `expired`, until its user is back or signs out.
 *
 * All tabs have one session: each change compares the stored one with the one that it began with, so that a
 * tab that renews a token does not undo another tab's `Sign out`.
 */
import { batch, computed, signal } from "@preact/signals";
import { base, type Identity, problemOf, request, type Schemas, UnreachableError } from "./api";
import type { Renewal, Tokens } from "./oidc";
import type { SendingUser } from "./sending";
import type { Storage } from "./storage";

export type SignIn = Schemas["SignIn"];

export interface Session {
  /** Another one for each credential. */
  id: string;
  user: string;
  name: string;
  admin: boolean;
  identity: Identity;
  expired: boolean;
  /** The token is an issuer's, which may give another one by itself. */
  renewal: Renewal | null;
}

export const session = signal<Session | null>(null);
/** How often a user has left this page: by `Sign out` in any tab, or for another user. */
export const sessionEnds = signal(0);
/** Null until the service has said. */
export const signInWay = signal<SignIn | null>(null);

/** Who may send just now. */
export const sendingUser = computed<SendingUser | null>(() => {
  const now = session.value;
  return now === null || now.expired ? null : { user: now.user, identity: now.identity };
});

const ME = "me";
/** The last user signed out: the issuer asks the next one for credentials, whatever session it still has. */
const ASK_AT_ISSUER = "ask at issuer";

let storage: Storage;
let notifyTabs: () => void;

/** `tell` has the other tabs call `reload`. */
export async function restore(device: Storage, notify: () => void): Promise<void> {
  storage = device;
  notifyTabs = notify;
  // A tab that the browser had put to sleep may have missed that.
  addEventListener("pageshow", () => void reload());
  document.addEventListener("visibilitychange", () => void reload());
  await reload();
}

export async function reload(): Promise<void> {
  showSession((await storage.get<Session>(ME)) ?? null);
}

function showSession(next: Session | null): void {
  const current = session.peek();
  if (current?.id === next?.id && current?.expired === next?.expired && (current === null) === (next === null)) return;
  batch(() => {
    session.value = next;
    if (current !== null && current.user !== next?.user) sessionEnds.value += 1;
  });
}

/** Stores `next` in the place of `known`, unless a tab has ended or replaced that meanwhile. */
async function replace(current: Session, next: Session): Promise<void> {
  const isCurrent = (stored: Session | undefined) => stored !== undefined && stored.id === current.id;
  showSession((await storage.update<Session>(ME, (stored) => (isCurrent(stored) ? next : stored))) ?? null);
  notifyTabs();
}

/** Asks who we are to the service. Offline, what is kept stands. */
export async function checkIdentity(): Promise<void> {
  const current = session.value;
  try {
    const reply = await request("GET", "me", { identity: current?.identity ?? null });
    if (reply.status === 401 && current !== null) await expire(current);
    const me = reply.status === 200 ? reply : await request("GET", "me");
    if (me.status === 200) await applySignInWay(me.body as Schemas["Me"]);
  } catch (error) {
    if (!(error instanceof UnreachableError)) throw error;
  }
}

async function applySignInWay(me: Schemas["Me"]): Promise<void> {
  signInWay.value = me.auth;
  const current = session.value;
  // Names are no longer believed, or tokens no longer taken: the service was started anew otherwise.
  if (current !== null && current.identity.mode !== me.auth.mode) await expire(current);
}

/** `code` is of a refusal that says nothing of the credential. */
export type SignInOutcome = { is: "signed in" } | { is: "refused" } | { is: "unreachable" } | { is: "put off"; code: string };

/** Signs in by a credential that a person gave, or brought from the issuer. */
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

/** 128 random bits; `crypto.randomUUID` is there in secure contexts only. */
export function newId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The service refused a credential, which may be the session's no longer. */
export async function rejectCredential(identity: Identity): Promise<void> {
  const current = session.value;
  if (current?.identity.credential === identity.credential) await expire(current);
}

/** The token of a session no longer holds: another one, if the issuer gives it by itself, else the person is asked. */
async function expire(current: Session): Promise<void> {
  if (current.expired) return;
  await replace(current, { ...current, expired: true });
  if (current.renewal) await inOneTab(() => renew(current, current.renewal as Renewal));
}

/** A refresh token may be good for one use. */
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

/** Leaves for the issuer's page; what comes back is for `finish`. */
export async function leaveForIssuer(way: SignIn): Promise<void> {
  const oidc = await import("./oidc");
  await oidc.openIssuer(way, storage, (await storage.get<boolean>(ASK_AT_ISSUER)) === true);
}

/** After the issuer sent the person back here. */
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

/** Signs out in all tabs, then at the issuer, whose page takes the place of this one unless it is `needed`. */
export async function signOut(keepPage: boolean): Promise<void> {
  const current = session.value;
  await storage.set(ME, undefined);
  if (current?.renewal) await storage.set(ASK_AT_ISSUER, true);
  for (const name of await storage.names()) if (name.startsWith("oidc.")) await storage.set(name, undefined);
  showSession(null);
  notifyTabs();
  const renewal = current?.renewal;
  if (!renewal || keepPage) return;
  // Offline there is neither that script nor the issuer.
  const url = await import("./oidc").then((oidc) => oidc.endSessionUrl(renewal, storage)).catch(() => null);
  // Whoever was faster to sign in stays.
  if (url !== null && session.peek() === null) location.assign(url);
}
