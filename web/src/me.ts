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
import type { Signed } from "./sending";
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
export const departures = signal(0);
/** Null until the service has said. */
export const signInWay = signal<SignIn | null>(null);

/** Who may send just now. */
export const signed = computed<Signed | null>(() => {
  const now = session.value;
  return now === null || now.expired ? null : { user: now.user, identity: now.identity };
});

const ME = "me";
/** The last user signed out: the issuer asks the next one for credentials, whatever session it still has. */
const ASK_AT_ISSUER = "ask at issuer";

let storage: Storage;
let tellTabs: () => void;

/** `tell` has the other tabs call `reload`. */
export async function restore(from: Storage, tell: () => void): Promise<void> {
  storage = from;
  tellTabs = tell;
  // A tab that the browser had put to sleep may have missed that.
  addEventListener("pageshow", () => void reload());
  document.addEventListener("visibilitychange", () => void reload());
  await reload();
}

export async function reload(): Promise<void> {
  show((await storage.get<Session>(ME)) ?? null);
}

function show(next: Session | null): void {
  const known = session.peek();
  if (known?.id === next?.id && known?.expired === next?.expired && (known === null) === (next === null)) return;
  batch(() => {
    session.value = next;
    if (known !== null && known.user !== next?.user) departures.value += 1;
  });
}

/** Stores `next` in the place of `known`, unless a tab has ended or replaced that meanwhile. */
async function replace(known: Session, next: Session): Promise<void> {
  const isCurrent = (stored: Session | undefined) => stored !== undefined && stored.id === known.id;
  show((await storage.update<Session>(ME, (stored) => (isCurrent(stored) ? next : stored))) ?? null);
  tellTabs();
}

/** Asks who we are to the service. Offline, what is kept stands. */
export async function ask(): Promise<void> {
  const known = session.value;
  try {
    const reply = await request("GET", "me", { identity: known?.identity ?? null });
    if (reply.status === 401 && known !== null) await expire(known);
    const me = reply.status === 200 ? reply : await request("GET", "me");
    if (me.status === 200) await learn(me.body as Schemas["Me"]);
  } catch (error) {
    if (!(error instanceof UnreachableError)) throw error;
  }
}

async function learn(me: Schemas["Me"]): Promise<void> {
  signInWay.value = me.auth;
  const known = session.value;
  // Names are no longer believed, or tokens no longer taken: the service was started anew otherwise.
  if (known !== null && known.identity.mode !== me.auth.mode) await expire(known);
}

/** `code` is of a refusal that says nothing of the credential. */
export type SignedIn = { is: "signed in" } | { is: "refused" } | { is: "unreachable" } | { is: "put off"; code: string };

/** Signs in by a credential that a person gave, or brought from the issuer. */
export async function signIn(identity: Identity, renewal: Renewal | null = null): Promise<SignedIn> {
  const next = await sessionOf(identity, renewal);
  if ("is" in next) return next;
  await storage.set(ME, next);
  show(next);
  tellTabs();
  return { is: "signed in" };
}

async function sessionOf(identity: Identity, renewal: Renewal | null): Promise<Session | SignedIn> {
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
export async function refused(identity: Identity): Promise<void> {
  const known = session.value;
  if (known?.identity.credential === identity.credential) await expire(known);
}

/** The token of a session no longer holds: another one, if the issuer gives it by itself, else the person is asked. */
async function expire(known: Session): Promise<void> {
  if (known.expired) return;
  await replace(known, { ...known, expired: true });
  if (known.renewal) await oneTab(() => renew(known, known.renewal as Renewal));
}

/** A refresh token may be good for one use. */
async function oneTab(act: () => Promise<void>): Promise<void> {
  if (navigator.locks === undefined) await act();
  else await navigator.locks.request(`image-poster ${base.pathname} renewal`, act);
}

async function renew(known: Session, renewal: Renewal): Promise<void> {
  await reload();
  if (session.peek()?.id !== known.id) return;
  const oidc = await import("./oidc");
  const tokens = await oidc.renewed(renewal, storage);
  if (tokens === null) return;
  const next = await sessionOf(...issued(tokens));
  if (!("is" in next)) await replace(known, next);
}

function issued(tokens: Tokens): [Identity, Renewal] {
  return [{ mode: "jwt", credential: tokens.access }, tokens.renewal];
}

/** Leaves for the issuer's page; what comes back is for `finish`. */
export async function leaveForIssuer(way: SignIn): Promise<void> {
  const oidc = await import("./oidc");
  await oidc.leave(way, storage, (await storage.get<boolean>(ASK_AT_ISSUER)) === true);
}

/** After the issuer sent the person back here. */
export async function finish(): Promise<SignedIn | null> {
  const query = new URLSearchParams(location.search);
  if (!query.has("state") || !(query.has("code") || query.has("error"))) return null;
  const back = location.href;
  history.replaceState(null, "", location.pathname);
  await ask();
  if (!signInWay.value?.client_id) return null;
  const oidc = await import("./oidc");
  const tokens = await oidc.finished(signInWay.value, storage, back);
  if (tokens === null) return { is: "refused" };
  const outcome = await signIn(...issued(tokens));
  if (outcome.is === "signed in") await storage.set(ASK_AT_ISSUER, undefined);
  return outcome;
}

/** Signs out in all tabs, then at the issuer, whose page takes the place of this one unless it is `needed`. */
export async function signOut(needed: boolean): Promise<void> {
  const known = session.value;
  await storage.set(ME, undefined);
  if (known?.renewal) await storage.set(ASK_AT_ISSUER, true);
  for (const name of await storage.names()) if (name.startsWith("oidc.")) await storage.set(name, undefined);
  show(null);
  tellTabs();
  const renewal = known?.renewal;
  if (!renewal || needed) return;
  // Offline there is neither that script nor the issuer.
  const url = await import("./oidc").then((oidc) => oidc.endOfSession(renewal, storage)).catch(() => null);
  // Whoever was faster to sign in stays.
  if (url !== null && session.peek() === null) location.assign(url);
}
