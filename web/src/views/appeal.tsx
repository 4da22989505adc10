/** The dialog `Appeal`: the user's text against a decision. */
import { useState } from "preact/hooks";
import { moderationTexts } from "../moderation-texts";
import * as outbox from "../outbox";
import { texts } from "../texts";
import { appealed } from "./dialogs";
import "./moderation.css";
import { storageProblem } from "./outbox";
import { Dialog, DialogTitle, TextField } from "./parts";
import { textFault } from "./reasons";

export default function AppealDialog({ close }: { close: () => void }) {
  const decision = appealed.value;
  const [text, setText] = useState("");
  const [problem, setProblem] = useState<string | null>(null);
  const fault = textFault(text);
  if (decision === null) return null;
  const send = async (event: Event) => {
    event.preventDefault();
    if (text.trim() === "" || fault !== null) return;
    const failure = await storageProblem(outbox.add({ kind: "appeal", decision, text: text.trim() }));
    setProblem(failure);
    if (failure === null) close();
  };
  return (
    <Dialog name={texts.appeal} close={close} class="small">
      <DialogTitle close={close}>{texts.appeal}</DialogTitle>
      <form onSubmit={(event) => void send(event)}>
        <TextField label={moderationTexts.appealText} value={text} change={setText} lines={5} fault={fault ?? problem} />
        <footer class="row end">
          <button type="button" onClick={close}>
            {texts.cancel}
          </button>
          <button class="primary" disabled={text.trim() === ""}>
            {moderationTexts.sendAppeal}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
