/**
 * Who is on, and how one signs in (`GET /me`). The session is kept on the device, so that a crash does not
 * forget it; one whose token ran out stays, as `expired`, until its user is back.
 */
import { computed, signal } from "@preact/signals";
import { type Identity, problemOf, request, type Schemas, UnreachableError } from "./api";
import type { Signed } from "./sending";
import type { Storage } from "./storage";

export type SignIn = Schemas["SignIn"];

export interface Session {
  user: string;
  name: string;
  admin: boolean;
  identity: Identity;
  expired: boolean;
  /** The token is an issuer's, which may give another one by itself. */
  renewable: boolean;
}

export const session = signal<Session | null>(null);
/** Null until the service has said. */
export const signInWay = signal<SignIn | null>(null);

/** Who may send just now. */
export const signed = computed<Signed | null>(() => {
  const now = session.value;
  return now === null || now.expired ? null : { user: now.user, identity: now.identity };
});

const ME = "me";

let storage: Storage;

export async function restore(from: Storage): Promise<void> {
  storage = from;
  await reload();
}

export async function reload(): Promise<void> {
  session.value = (await storage.get<Session>(ME)) ?? null;
}

async function keep(next: Session | null): Promise<void> {
  session.value = next;
  await storage.set(ME, next ?? undefined);
}

/** Asks who we are to the service. Offline, what is kept stands. */
export async function ask(): Promise<void> {
  const known = session.value;
  try {
    const reply = await request("GET", "me", { identity: known?.identity ?? null });
    if (reply.status === 401) await expire();
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
  if (known !== null && known.identity.mode !== me.auth.mode) await expire();
}

/** `code` is of a refusal that says nothing of the credential. */
export type SignedIn = { is: "signed in" } | { is: "refused" } | { is: "unreachable" } | { is: "put off"; code: string };

/** `renewable` is a token of an issuer's that may be renewed without asking. */
export async function signIn(identity: Identity, renewable = false): Promise<SignedIn> {
  try {
    const reply = await request("GET", "me", { identity });
    const me = reply.body as Schemas["Me"] | null;
    if (reply.status > 401) return { is: "put off", code: problemOf(reply).code };
    if (reply.status !== 200 || !me?.user) return { is: "refused" };
    const { user, admin } = me;
    await keep({ user, name: me.name ?? user, admin, identity, expired: false, renewable });
    return { is: "signed in" };
  } catch (error) {
    if (error instanceof UnreachableError) return { is: "unreachable" };
    throw error;
  }
}

/** The token no longer holds: another one, if the issuer gives it by itself, else the person is asked. */
export async function expire(): Promise<void> {
  const known = session.value;
  if (known === null || known.expired) return;
  await keep({ ...known, expired: true });
  if (known.renewable && signInWay.value?.client_id) await renew(signInWay.value);
}

async function renew(way: SignIn): Promise<void> {
  const oidc = await import("./oidc");
  const token = await oidc.renewed(way, storage);
  if (token !== null) await signIn({ mode: "jwt", credential: token }, true);
}

/** Leaves for the issuer's page; what comes back is for `finish`. */
export async function leaveForIssuer(way: SignIn): Promise<void> {
  const oidc = await import("./oidc");
  await oidc.leave(way, storage);
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
  const token = await oidc.finished(signInWay.value, storage, back);
  return token === null ? { is: "refused" } : signIn({ mode: "jwt", credential: token }, true);
}

export async function signOut(): Promise<void> {
  for (const name of await storage.names()) if (name !== ME) await storage.set(name, undefined);
  await keep(null);
}
