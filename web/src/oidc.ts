/**
 * Signing in at an OpenID Connect issuer: authorization code with PKCE (RFC 7636), the tokens kept with the
 * session. Loaded only where an issuer is configured.
 */
import { type StateStore, UserManager } from "oidc-client-ts";
import { base } from "./api";
import type { SignIn } from "./me";
import type { Storage } from "./storage";

/** What the library remembers, beside the session. */
class KeptState implements StateStore {
  constructor(readonly storage: Storage) {}

  set(name: string, value: string): Promise<void> {
    return this.storage.set(`oidc.${name}`, value);
  }

  async get(name: string): Promise<string | null> {
    return (await this.storage.get<string>(`oidc.${name}`)) ?? null;
  }

  async remove(name: string): Promise<string | null> {
    const value = await this.get(name);
    await this.storage.set(`oidc.${name}`, undefined);
    return value;
  }

  async getAllKeys(): Promise<string[]> {
    const names = await this.storage.names();
    return names.filter((name) => name.startsWith("oidc.")).map((name) => name.slice("oidc.".length));
  }
}

function manager(way: SignIn, storage: Storage): UserManager {
  const kept = new KeptState(storage);
  return new UserManager({
    authority: way.issuer ?? "",
    client_id: way.client_id ?? "",
    scope: way.scope ?? "openid",
    redirect_uri: base.href,
    response_type: "code",
    stateStore: kept,
    userStore: kept as never,
    loadUserInfo: false,
    automaticSilentRenew: false,
    monitorSession: false,
  });
}

export function leave(way: SignIn, storage: Storage): Promise<void> {
  return manager(way, storage).signinRedirect();
}

/** The access token, or null if the issuer refused. */
export async function finished(way: SignIn, storage: Storage, url: string): Promise<string | null> {
  return manager(way, storage)
    .signinRedirectCallback(url)
    .then((user) => user.access_token)
    .catch(() => null);
}

/** Another access token, by the refresh token (RFC 6749, section 6); never by a hidden frame. */
export async function renewed(way: SignIn, storage: Storage): Promise<string | null> {
  const known = manager(way, storage);
  const user = await known.getUser();
  if (!user?.refresh_token) return null;
  return known
    .signinSilent()
    .then((fresh) => fresh?.access_token ?? null)
    .catch(() => null);
}
