/** Dialogs that are loaded when they are first opened: report, appeal, account, moderation. */
import { signal } from "@preact/signals";
import type { FunctionComponent } from "preact";
import { useEffect, useState } from "preact/hooks";
import * as me from "../me";
import { texts } from "../texts";
import { Dialog, DialogTitle } from "./parts";
import { signInThen } from "./sign-in";

/** A post or comment to report. `about` describes it to the user. */
export interface ReportSubject {
  post: string;
  comment: string | null;
  creator: string;
  creatorName: string;
  about: string;
}

export const reportSubject = signal<ReportSubject | null>(null);
/** The id of a decision. */
export const appealed = signal<string | null>(null);
export const isAccountOpen = signal(false);
export const isModerationOpen = signal(false);

me.sessionEnds.subscribe(() => {
  reportSubject.value = null;
  appealed.value = null;
  isAccountOpen.value = false;
  isModerationOpen.value = false;
});

/** Opens the dialog `Report`, after signing in. The user may turn out to be the creator. */
export function openReport(subject: ReportSubject): void {
  signInThen(() => {
    if (me.session.peek()?.user !== subject.creator) reportSubject.value = subject;
  });
}

type View = FunctionComponent<{ close: () => void }>;
type Load = () => Promise<{ default: View }>;

const VIEWS: { isOpen: () => boolean; close: () => void; load: Load }[] = [
  { isOpen: () => isModerationOpen.value, close: () => (isModerationOpen.value = false), load: () => import("./moderation") },
  { isOpen: () => isAccountOpen.value, close: () => (isAccountOpen.value = false), load: () => import("./account") },
  { isOpen: () => reportSubject.value !== null, close: () => (reportSubject.value = null), load: () => import("./report") },
  { isOpen: () => appealed.value !== null, close: () => (appealed.value = null), load: () => import("./appeal") },
];

export function LoadedDialogs() {
  return (
    <>
      {VIEWS.map(({ isOpen, close, load }, index) => (isOpen() ? <Loaded key={index} close={close} load={load} /> : null))}
    </>
  );
}

function Loaded({ close, load }: { close: () => void; load: Load }) {
  const [view, setView] = useState<{ show: View } | "missing" | null>(null);
  useEffect(() => {
    load().then(
      (module) => setView({ show: module.default }),
      () => setView("missing"),
    );
  }, []);
  if (view === null) return null;
  if (view !== "missing") return <view.show close={close} />;
  return (
    <Dialog name={texts.partMissing} close={close} class="small">
      <DialogTitle close={close}>{texts.tryAgain}</DialogTitle>
      <p class="fault">{texts.partMissing}</p>
    </Dialog>
  );
}
