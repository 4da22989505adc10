/** Signing in and out. */
import { signal } from "@preact/signals";
import { useState } from "preact/hooks";
import * as me from "../me";
import { problemText, texts } from "../texts";
import { Dialog, DialogTitle, TextField } from "./parts";

/** The action that needs a user; it runs after signing in. */
const pendingAction = signal<(() => void) | null>(null);

/** The reason why the last attempt failed. */
const fault = signal<string | null>(null);

/** Runs an action now, or after signing in. */
export function signInThen(act: () => void): void {
  if (me.session.value === null) show(act, null);
  else act();
}

function show(act: () => void, problem: string | null): void {
  fault.value = problem;
  pendingAction.value = act;
  if (me.signInWay.value === null) void me.checkIdentity();
}

const noAction = () => undefined;

export function openSignIn(): void {
  show(noAction, null);
}

// The action of one user must not run for the next one.
me.sessionEnds.subscribe(() => (pendingAction.value = null));

/** Shows the reason if signing in at the issuer's page failed. */
export function showSignIn(outcome: me.SignInOutcome | null): void {
  if (outcome === null || outcome.is === "signed in") return;
  show(noAction, outcomeText(outcome, texts.signInRefused));
}

function outcomeText(outcome: me.SignInOutcome, refusedText: string): string {
  if (outcome.is === "put off") return problemText(outcome.code) ?? texts.signInUnreachable;
  return outcome.is === "refused" ? refusedText : texts.signInUnreachable;
}

export function SignInDialog() {
  const act = pendingAction.value;
  const close = () => (pendingAction.value = null);
  if (act === null) return null;
  const onSignedIn = () => {
    close();
    act();
  };
  return (
    <Dialog name={texts.signIn} close={close} class="small">
      <DialogTitle close={close}>{texts.signIn}</DialogTitle>
      <SignInWays onSignedIn={onSignedIn} />
    </Dialog>
  );
}

function SignInWays({ onSignedIn }: { onSignedIn: () => void }) {
  const way = me.signInWay.value;
  const current = me.session.value;
  const mode = way?.mode ?? current?.identity.mode;
  if (mode === undefined) return <p class="fault">{texts.signInUnreachable}</p>;
  return (
    <>
      {way?.client_id && way.issuer && (
        <button type="button" class="primary wide" onClick={() => void me.leaveForIssuer(way)}>
          {texts.goToIssuer(new URL(way.issuer).host)}
        </button>
      )}
      <Credential mode={mode} onSignedIn={onSignedIn} />
    </>
  );
}

function Credential({ mode, onSignedIn }: { mode: "dev" | "jwt"; onSignedIn: () => void }) {
  const current = me.session.value;
  const [credential, setCredential] = useState(current?.expired && mode === "dev" ? current.user : "");
  const submit = async (event: Event) => {
    event.preventDefault();
    const outcome = await me.signIn({ mode, credential: credential.trim() });
    if (outcome.is === "signed in") onSignedIn();
    else fault.value = outcomeText(outcome, mode === "dev" ? texts.nameRefused : texts.signInRefused);
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
