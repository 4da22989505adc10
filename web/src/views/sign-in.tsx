/** Signing in and out. */
import { signal } from "@preact/signals";
import { useState } from "preact/hooks";
import * as me from "../me";
import * as outbox from "../outbox";
import { sentence, texts } from "../texts";
import { Confirm, Dialog, DialogTitle, TextField } from "./parts";

/** What the person wanted to do, and will once they are signed in. */
const wanted = signal<(() => void) | null>(null);

/** Why the last try came to nothing. */
const fault = signal<string | null>(null);

/** Now, or after signing in. */
export function signInThen(act: () => void): void {
  if (me.session.value === null) show(act, null);
  else act();
}

function show(act: () => void, problem: string | null): void {
  fault.value = problem;
  wanted.value = act;
  if (me.signInWay.value === null) void me.ask();
}

const nothing = () => undefined;

// What the last user wanted to do is not done by the next one.
me.departures.subscribe(() => (wanted.value = null));

/** After the issuer's page: why that came to nothing, if it did. */
export function showSignIn(outcome: me.SignedIn | null): void {
  if (outcome === null || outcome.is === "signed in") return;
  show(nothing, why(outcome, texts.signInRefused));
}

function why(outcome: me.SignedIn, refused: string): string {
  if (outcome.is === "put off") return sentence(outcome.code) ?? texts.signInUnreachable;
  return outcome.is === "refused" ? refused : texts.signInUnreachable;
}

export function SignInDialog() {
  const act = wanted.value;
  const close = () => (wanted.value = null);
  if (act === null) return null;
  const done = () => {
    close();
    act();
  };
  return (
    <Dialog name={texts.signIn} close={close} class="small">
      <DialogTitle close={close}>{texts.signIn}</DialogTitle>
      <Ways done={done} />
    </Dialog>
  );
}

function Ways({ done }: { done: () => void }) {
  const way = me.signInWay.value;
  const known = me.session.value;
  const mode = way?.mode ?? known?.identity.mode;
  if (mode === undefined) return <p class="fault">{texts.signInUnreachable}</p>;
  return (
    <>
      {way?.client_id && way.issuer && (
        <button type="button" class="primary wide" onClick={() => void me.leaveForIssuer(way)}>
          {texts.goToIssuer(new URL(way.issuer).host)}
        </button>
      )}
      <Credential mode={mode} done={done} />
    </>
  );
}

function Credential({ mode, done }: { mode: "dev" | "jwt"; done: () => void }) {
  const known = me.session.value;
  const [credential, setCredential] = useState(known?.expired && mode === "dev" ? known.user : "");
  const submit = async (event: Event) => {
    event.preventDefault();
    const outcome = await me.signIn({ mode, credential: credential.trim() });
    if (outcome.is === "signed in") done();
    else fault.value = why(outcome, mode === "dev" ? texts.nameRefused : texts.signInRefused);
  };
  const label = mode === "dev" ? texts.name : texts.token;
  const hint = mode === "dev" ? texts.nameHint : texts.tokenHint;
  return (
    <form onSubmit={(event) => void submit(event)}>
      <TextField label={label} value={credential} change={setCredential} hint={hint} fault={fault.value} />
      <footer class="row end">
        <button class="primary" disabled={credential.trim() === ""}>
          {texts.signIn}
        </button>
      </footer>
    </form>
  );
}

export function WhoIsOn() {
  const known = me.session.value;
  const [leaving, setLeaving] = useState(false);
  const signIn = (
    <button type="button" onClick={() => show(nothing, null)}>
      {texts.signIn}
    </button>
  );
  if (known === null) return signIn;
  const waiting = outbox.waiting.value.length;
  const leave = () => void me.signOut(outbox.waiting.peek().some(outbox.lastsAsPage));
  return (
    <>
      <span class="on" title={texts.signedInAs(known.name)}>
        <bdi>{known.name}</bdi>
      </span>
      {known.expired && signIn}
      <button type="button" class="quiet" onClick={() => (waiting > 0 ? setLeaving(true) : leave())}>
        {texts.signOut}
      </button>
      {leaving && (
        <Confirm
          question={texts.signOutQuestion}
          hint={texts.signOutWaiting(waiting)}
          yes={texts.signOut}
          act={leave}
          close={() => setLeaving(false)}
        />
      )}
    </>
  );
}
