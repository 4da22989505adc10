/** The dialog `Account`: blocked users, reports, decisions, the user's data, and the end of the account. */
import { useEffect, useState } from "preact/hooks";
import * as account from "../account";
import { type Identity, reachable } from "../api";
import * as blocks from "../blocks";
import { type OwnDecision, readOwnDecisions } from "../decisions";
import { reloadWithheld } from "../feed";
import * as me from "../me";
import { moderationTexts } from "../moderation-texts";
import * as outbox from "../outbox";
import { readOwnReports, type Report } from "../reports";
import { exactTime, problemTextOrDetail, texts } from "../texts";
import { blockedUsers } from "../visible";
import { ZipTooLargeError } from "../zip";
import { isAccountOpen } from "./dialogs";
import "./moderation.css";
import { Dialog, DialogTitle, TextField, Time } from "./parts";
import { reasonText } from "./reasons";
import { hrefOf } from "./route";
import { notice } from "./status";
import { AppealState, DecisionReason } from "./withheld";

export default function Account({ close }: { close: () => void }) {
  const current = me.session.value;
  // So that the page behind agrees with the decisions here.
  useEffect(() => void reloadWithheld(), []);
  if (current === null) return null;
  return (
    <Dialog name={texts.account} close={close} class="account">
      <DialogTitle close={close}>{texts.account}</DialogTitle>
      <p class="muted">{texts.signedInAs(current.name)}</p>
      <Decisions identity={current.identity} />
      <Reports identity={current.identity} />
      <BlockedUsers />
      <Data current={current} />
      <Deletion current={current} />
    </Dialog>
  );
}

interface Pages<Item> {
  items: Item[] | null;
  next: string | null;
  failed: boolean;
}

/** The pages of a list of the user; read again when `version` changes. */
function usePages<Item>(readPage: (cursor: string | null) => Promise<{ items: Item[]; next: string | null }>, version: number) {
  const [pages, setPages] = useState<Pages<Item>>({ items: null, next: null, failed: false });
  const load = (cursor: string | null, before: Item[]) =>
    readPage(cursor).then(
      (page) => setPages({ items: [...before, ...page.items], next: page.next, failed: false }),
      () => setPages((former) => ({ ...former, failed: true })),
    );
  useEffect(() => void load(null, []), [version]);
  const isBack = pages.failed && reachable.value;
  useEffect(() => {
    if (isBack) void load(null, []);
  }, [isBack]);
  return { ...pages, loadMore: () => void load(pages.next, pages.items ?? []) };
}

/** The number of the user's entries of a kind that wait; a list is read again when it changes. */
function countWaiting(kind: "report" | "appeal"): number {
  return outbox.ownEntries.value.filter(({ work }) => work.kind === kind).length;
}

function ListEnd({ isEmpty, empty, pages }: { isEmpty: boolean; empty: string; pages: { failed: boolean; next: string | null; loadMore: () => void } }) {
  if (pages.failed) return <p class="fault">{moderationTexts.loadFailed}</p>;
  if (isEmpty) return <p class="muted">{empty}</p>;
  if (pages.next === null) return null;
  return (
    <button type="button" class="quiet" onClick={pages.loadMore}>
      {texts.showMore}
    </button>
  );
}

function Decisions({ identity }: { identity: Identity }) {
  const pages = usePages<OwnDecision>(
    (cursor) => readOwnDecisions(identity, cursor).then(({ decisions, next }) => ({ items: decisions, next })),
    countWaiting("appeal"),
  );
  return (
    <section aria-labelledby="decisions">
      <h3 id="decisions">{moderationTexts.decisions}</h3>
      <p class="hint">{moderationTexts.decisionsHint}</p>
      <ul class="account-list" aria-labelledby="decisions" aria-busy={pages.items === null && !pages.failed}>
        {(pages.items ?? []).map((decision, index, all) => (
          <DecisionItem key={decision.id} decision={decision} closing={closingOf(decision, all.slice(0, index))} />
        ))}
      </ul>
      <ListEnd isEmpty={pages.items?.length === 0} empty={moderationTexts.noDecisions} pages={pages} />
    </section>
  );
}

/** The actions that a user can appeal: those against them. */
const APPEALABLE = ["hide", "delete", "ban", "reject", "edit"];

const GRANTING = ["restore", "publish", "unban"];

/** The decision that closed the appeal against `decision`, among the `newer` ones (newest first); null while it waits. */
function closingOf({ appeal, ...decision }: OwnDecision, newer: OwnDecision[]): OwnDecision | null {
  if (appeal === null) return null;
  const isSame = (other: OwnDecision) =>
    other.post_id === decision.post_id && other.comment_id === decision.comment_id && other.user === decision.user;
  return newer.findLast((other) => isSame(other) && other.action !== "edit" && other.created_at >= appeal.created_at) ?? null;
}

/** The state of the appeal against a decision, or the button `Appeal`. */
function AppealOf({ decision, closing }: { decision: OwnDecision; closing: OwnDecision | null }) {
  const { id, appeal } = decision;
  if (closing === null || appeal?.outcome === "dismissed") return <AppealState decision={id} appeal={appeal} />;
  return <p class="hint">{GRANTING.includes(closing.action) ? moderationTexts.appealGranted : moderationTexts.appealClosed}</p>;
}

function DecisionItem({ decision, closing }: { decision: OwnDecision; closing: OwnDecision | null }) {
  const { action, post_id: post, created_at: at } = decision;
  const isPostThere = post !== null && (action === "hide" || action === "restore" || action === "publish");
  return (
    <li>
      <p>
        <strong>{decisionText(decision)}</strong> <Time at={at} edited={null} />
      </p>
      <DecisionReason decision={decision} />
      {decision.by === "service" && <p class="hint">{moderationTexts.byService}</p>}
      <div class="row">
        {isPostThere && <PostLink post={post} />}
        {(APPEALABLE.includes(action) || decision.appeal !== null) && <AppealOf decision={decision} closing={closing} />}
      </div>
    </li>
  );
}

function decisionText({ action, comment_id: comment, post_id: post, until }: OwnDecision): string {
  const words = moderationTexts.decisionTexts as Record<string, string>;
  if (action === "ban") {
    const end = until === null ? moderationTexts.forGood : moderationTexts.until(exactTime(until));
    return `${words["ban"]} ${end}`;
  }
  if (action !== "delete") return words[action] ?? action;
  if (comment !== null) return moderationTexts.decisionTexts.deleteComment;
  return post === null ? moderationTexts.decisionTexts.deleteUser : moderationTexts.decisionTexts.delete;
}

function PostLink({ post }: { post: string }) {
  return (
    <a href={hrefOf(post)} onClick={() => (isAccountOpen.value = false)}>
      {moderationTexts.showPost}
    </a>
  );
}

function Reports({ identity }: { identity: Identity }) {
  const pages = usePages<Report>(
    (cursor) => readOwnReports(identity, cursor).then(({ reports, next }) => ({ items: reports, next })),
    countWaiting("report"),
  );
  return (
    <section aria-labelledby="reports">
      <h3 id="reports">{moderationTexts.myReports}</h3>
      <ul class="account-list" aria-labelledby="reports" aria-busy={pages.items === null && !pages.failed}>
        {(pages.items ?? []).map((report) => (
          <ReportItem key={report.id} report={report} />
        ))}
      </ul>
      <ListEnd isEmpty={pages.items?.length === 0} empty={moderationTexts.noReports} pages={pages} />
    </section>
  );
}

function ReportItem({ report }: { report: Report }) {
  const subject = moderationTexts.reportOf[report.comment_id === null ? "post" : "comment"];
  const outcome = report.status === "open" ? "open" : report.outcome;
  const outcomes = moderationTexts.outcomes as Record<string, string>;
  return (
    <li>
      <p>
        <strong>{outcomes[outcome ?? ""] ?? outcomes["closed"]}</strong>
      </p>
      {/* The time of the report, not of the outcome. */}
      <p>
        {subject}, {reasonText(report.reason)} <Time at={report.created_at} edited={null} />
      </p>
      {report.text && (
        <p class="decision-reason" dir="auto">
          {report.text}
        </p>
      )}
      {(outcome === "open" || outcome === "dismissed") && <PostLink post={report.post_id} />}
    </li>
  );
}

function BlockedUsers() {
  const users = [...blockedUsers.value];
  const since = new Map(blocks.omitted.value.blocks.map((block) => [block.user, block.created_at]));
  return (
    <section aria-labelledby="blocked">
      <h3 id="blocked">{moderationTexts.blockedUsers}</h3>
      {users.length === 0 && <p class="muted">{moderationTexts.nobodyBlocked}</p>}
      <ul class="account-list" aria-labelledby="blocked">
        {users.map((user) => (
          <li key={user} class="row between">
            <span>
              <bdi class="who">{user}</bdi> {since.has(user) && <Time at={since.get(user) ?? ""} edited={null} />}
            </span>
            <button type="button" aria-label={moderationTexts.unblockUser(user)} onClick={() => void outbox.add({ kind: "unblock", user })}>
              {moderationTexts.unblock}
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}

type Download = { is: "no" } | { is: "loading"; done: number; total: number } | { is: "done" } | { is: "failed"; why: string };

function Data({ current }: { current: me.Session }) {
  const [download, setDownload] = useState<Download>({ is: "no" });
  const start = async () => {
    setDownload({ is: "loading", done: 0, total: 0 });
    try {
      const archive = await account.takeOut(current.identity, (done, total) => setDownload({ is: "loading", done, total }));
      account.saveFile(archive, `${current.user.replace(/[^\p{L}\p{N}._-]/gu, "_")}.zip`);
      setDownload({ is: "done" });
    } catch (error) {
      const why = error instanceof ZipTooLargeError ? moderationTexts.downloadTooLarge : moderationTexts.downloadFailed;
      setDownload({ is: "failed", why });
    }
  };
  return (
    <section aria-labelledby="data">
      <h3 id="data">{moderationTexts.data}</h3>
      <p class="hint">{moderationTexts.downloadHint}</p>
      <button type="button" disabled={download.is === "loading"} onClick={() => void start()}>
        {moderationTexts.downloadData}
      </button>
      <p class={download.is === "failed" ? "fault" : "hint"} role="status">
        {downloadText(download)}
      </p>
    </section>
  );
}

function downloadText(download: Download): string {
  if (download.is === "loading") return download.total === 0 ? texts.loading : moderationTexts.downloading(download.done, download.total);
  if (download.is === "failed") return download.why;
  return download.is === "done" ? moderationTexts.downloaded : "";
}

function Deletion({ current }: { current: me.Session }) {
  const [isAsking, setAsking] = useState(false);
  return (
    <section aria-labelledby="deletion">
      <h3 id="deletion">{moderationTexts.deleteAccount}</h3>
      <p class="hint">{moderationTexts.deleteHint}</p>
      <button type="button" class="danger" onClick={() => setAsking(true)}>
        {moderationTexts.deleteAccount}
      </button>
      {isAsking && <DeletionDialog current={current} close={() => setAsking(false)} />}
    </section>
  );
}

function DeletionDialog({ current, close }: { current: me.Session; close: () => void }) {
  const [typed, setTyped] = useState("");
  const [problem, setProblem] = useState<string | null>(null);
  const [isSending, setSending] = useState(false);
  const send = async (event: Event) => {
    event.preventDefault();
    if (typed.trim() !== current.user || isSending) return;
    setSending(true);
    const answer = await account.deleteAccount(current);
    setSending(false);
    if (answer.is === "done") notice.value = moderationTexts.accountDeleted;
    else setProblem(problemText(answer));
  };
  return (
    <Dialog name={moderationTexts.deleteAccount} close={close} class="small" alert>
      <h2>{moderationTexts.deleteAccount}</h2>
      <p class="muted">{moderationTexts.deleteHint}</p>
      <form onSubmit={(event) => void send(event)}>
        <TextField label={moderationTexts.typeName(current.user)} value={typed} change={setTyped} fault={problem} />
        {!reachable.value && <p class="fault">{moderationTexts.deleteOffline}</p>}
        <footer class="row end">
          <button type="button" onClick={close}>
            {texts.cancel}
          </button>
          <button class="primary danger" disabled={typed.trim() !== current.user || isSending}>
            {moderationTexts.deleteAccount}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}

function problemText(answer: Awaited<ReturnType<typeof account.deleteAccount>>): string {
  if (answer.is === "failed") return problemTextOrDetail(answer.code, answer.detail);
  if (answer.is === "signed out") return texts.problems.identity_required;
  if (answer.is === "try again" && answer.why !== undefined) return problemTextOrDetail(answer.why, "");
  return moderationTexts.deleteOffline;
}
