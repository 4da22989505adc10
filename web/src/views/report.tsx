/** The dialog `Report`: a reason, details, and the block of the creator. */
import { useState } from "preact/hooks";
import { limits, loadLimits } from "../limits";
import { moderationTexts } from "../moderation-texts";
import * as outbox from "../outbox";
import { texts } from "../texts";
import { blockedUsers } from "../visible";
import type { Reason } from "../works";
import { reportSubject, type ReportSubject } from "./dialogs";
import { RulesLink } from "./footer";
import "./moderation.css";
import { storageProblem } from "./outbox";
import { Dialog, DialogTitle, TextField } from "./parts";
import { Reasons, textFault } from "./reasons";
import { openPost, openPostInPlace } from "./route";

export default function ReportDialog({ close }: { close: () => void }) {
  const subject = reportSubject.value;
  if (subject === null) return null;
  void loadLimits();
  return (
    <Dialog name={texts.report} close={close} class="report">
      <DialogTitle close={close}>{texts.report}</DialogTitle>
      <div class="row between about-row">
        <p class="muted about" dir="auto">
          {subject.about}
        </p>
        {limits.value?.rules_url && <RulesLink url={limits.value.rules_url} />}
      </div>
      <ReportForm subject={subject} close={close} />
      <BlockChoice subject={subject} />
    </Dialog>
  );
}

function ReportForm({ subject, close }: { subject: ReportSubject; close: () => void }) {
  const [reason, setReason] = useState<Reason | null>(null);
  const [text, setText] = useState("");
  const [problem, setProblem] = useState<string | null>(null);
  const fault = textFault(text);
  const send = async (event: Event) => {
    event.preventDefault();
    if (reason === null) return setProblem(moderationTexts.chooseReason);
    if (fault !== null) return;
    const { post, comment } = subject;
    const failure = await storageProblem(outbox.add({ kind: "report", post, comment, reason, text: text.trim() }));
    if (failure !== null) return setProblem(failure);
    close();
    if (comment === null) leavePost(post);
  };
  return (
    <form onSubmit={(event) => void send(event)}>
      <Reasons chosen={reason} choose={setReason} />
      <TextField label={moderationTexts.details} value={text} change={setText} lines={3} hint={moderationTexts.detailsHint} fault={fault} />
      {problem && (
        <p class="fault" role="alert">
          {problem}
        </p>
      )}
      <footer class="row end">
        <button type="button" onClick={close}>
          {texts.cancel}
        </button>
        <button class="primary">{moderationTexts.sendReport}</button>
      </footer>
    </form>
  );
}

/** Closes the dialog of a post that the page no longer shows. */
function leavePost(post: string): void {
  if (openPost.value === post) openPostInPlace(null);
}

function BlockChoice({ subject }: { subject: ReportSubject }) {
  const { creator, creatorName, comment, post } = subject;
  const isBlocked = blockedUsers.value.has(creator);
  const block = async () => {
    await outbox.add({ kind: "block", user: creator });
    if (comment === null) leavePost(post);
  };
  return (
    <section class="block-choice" role="status">
      {isBlocked ? (
        <p>{moderationTexts.isBlocked(creatorName)}</p>
      ) : (
        <>
          <button type="button" onClick={() => void block()}>
            {moderationTexts.block(creatorName)}
          </button>
          <p class="hint">{moderationTexts.blockHint(creatorName)}</p>
        </>
      )}
    </section>
  );
}
