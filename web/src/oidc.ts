/**
 * Sign-in at an OpenID Connect issuer: authorization code with PKCE (RFC 7636). The tokens are stored with the
 * session. This module is loaded only if the service has an issuer.
 */
import { OidcClient, type SigninResponse, type StateStore } from "oidc-client-ts";
import { base } from "./api";
import type { SignIn } from "./me";
import type { Storage } from "./storage";

/** The data to renew an access token without the user, and to sign out at the issuer. */
export interface Renewal {
  way: SignIn;
  refreshToken: string | null;
  idToken: string | null;
  scope: string | null;
}

export interface Tokens {
  access: string;
  renewal: Renewal;
}

/** The timeout of `Sign out` for the issuer's document. */
const SIGN_OUT_SECONDS = 3;

/** The library's state during sign-in. */
class SignInState implements StateStore {
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

function clientOf(way: SignIn, storage: Storage, timeoutSeconds?: number): OidcClient {
  return new OidcClient({
    authority: way.issuer ?? "",
    client_id: way.client_id ?? "",
    scope: way.scope ?? "openid",
    redirect_uri: base.href,
    post_logout_redirect_uri: base.href,
    response_type: "code",
    stateStore: new SignInState(storage),
    ...(timeoutSeconds === undefined ? {} : { requestTimeoutInSeconds: timeoutSeconds }),
  });
}

/** Opens the issuer's page. `withPrompt`: it asks for credentials even if it has a session. */
export async function openIssuer(way: SignIn, storage: Storage, withPrompt: boolean): Promise<void> {
  const request = await clientOf(way, storage).createSigninRequest(withPrompt ? { prompt: "login" } : {});
  location.assign(request.url);
}

/** The tokens after the issuer's redirect; null if the issuer refused. */
export function finishSignIn(way: SignIn, storage: Storage, url: string): Promise<Tokens | null> {
  return clientOf(way, storage)
    .processSigninResponse(url)
    .then((response) => tokensOf(way, response))
    .catch(() => null);
}

/** New tokens by the refresh token (RFC 6749, section 6); null without one, or if the issuer refused. */
export async function renewTokens(renewal: Renewal, storage: Storage): Promise<Tokens | null> {
  const { way, refreshToken, idToken, scope } = renewal;
  if (refreshToken === null) return null;
  const state = {
    refresh_token: refreshToken,
    session_state: null,
    ...(idToken === null ? {} : { id_token: idToken }),
    ...(scope === null ? {} : { scope }),
    profile: { sub: "", iss: "", aud: "", exp: 0, iat: 0 },
  };
  return clientOf(way, storage)
    .useRefreshToken({ state })
    .then((response) => tokensOf(way, response, refreshToken))
    .catch(() => null);
}

function tokensOf(way: SignIn, response: SigninResponse, refreshToken: string | null = null): Tokens {
  const { access_token: access, refresh_token, id_token, scope } = response;
  const renewal = { way, refreshToken: refresh_token ?? refreshToken, idToken: id_token ?? null, scope: scope ?? null };
  return { access, renewal };
}

/** The issuer's page for signing out (OpenID Connect RP-Initiated Logout 1.0); null if it has none. */
export async function endSessionUrl(renewal: Renewal, storage: Storage): Promise<string | null> {
  const { way, idToken } = renewal;
  const client = clientOf(way, storage, SIGN_OUT_SECONDS);
  try {
    const endpoint = await client.metadataService.getEndSessionEndpoint();
    const url = new URL(endpoint ?? cognitoLogoutUrl(way, await client.metadataService.getAuthorizationEndpoint()));
    if (idToken !== null) url.searchParams.set("id_token_hint", idToken);
    url.searchParams.set("client_id", way.client_id ?? "");
    url.searchParams.set("post_logout_redirect_uri", base.href);
    url.searchParams.set("logout_uri", base.href); // its name at Cognito
    return url.href;
  } catch {
    return null;
  }
}

/** Cognito has this page, but its document may not name it. */
function cognitoLogoutUrl(way: SignIn, authorize: string): string {
  return /^https:\/\/cognito-idp\./.test(way.issuer ?? "") ? new URL("/logout", authorize).href : "";
}
