/** The comments of the open post: the stored ones, and the user's own that are not sent yet. */
import { useSignal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import { refusalOf } from "../api";
import { type Comment, readComments } from "../comments";
import { checkText, isBlank, limits } from "../limits";
import * as me from "../me";
import * as outbox from "../outbox";
import { creatorName, type Post } from "../posts";
import type { Entry } from "../queue";
import type { CommentEdit } from "../works";
import { problemText, texts } from "../texts";
import { reportedComments, visibleComments } from "../visible";
import { openReport } from "./dialogs";
import { signInThen } from "./sign-in";
import { storageProblem, stateText } from "./outbox";
import { Confirm, TextField, Time } from "./parts";

interface Shown {
  comments: Comment[];
  next: string | null;
  /** The reason why the last page could not be read, as a sentence. */
  fault: string | null;
}

/** The pages of comments, read again from the first one when the post has changed. */
function usePages(post: Post): [Shown | null, () => void] {
  const [shown, setShown] = useState<Shown | null>(null);
  const load = (cursor: string | null, before: Comment[]) =>
    readComments(post.id, cursor).then(
      (page) => setShown({ comments: [...before, ...page.comments], next: page.next, fault: null }),
      (error: unknown) => {
        const fault = problemText(refusalOf(error)) ?? texts.commentsFailed;
        setShown((former) => ({ comments: former?.comments ?? post.latest_comments, next: null, fault }));
      },
    );
  const newest = post.latest_comments.map((comment) => comment.id + comment.edited_at).join();
  useEffect(() => void load(null, []), [post.id, post.total_comments, newest, countEdits()]);
  return [shown, () => void load(shown?.next ?? null, shown?.comments ?? [])];
}

/** The number of edits and deletions of comments that wait; the list is read again when it changes. */
function countEdits(): number {
  return outbox.ownEntries.value.filter(({ work }) => work.kind === "edit comment" || work.kind === "delete comment").length;
}

export function Comments({ post }: { post: Post }) {
  const [shown, loadMore] = usePages(post);
  const ownComments = outbox.ownEntries.value.filter(({ work }) => work.kind === "comment" && work.post === post.id).reverse();
  const loaded = shown?.comments ?? post.latest_comments;
  const comments = visibleComments(loaded);
  return (
    <>
      <NewComment post={post} />
      {shown?.fault && <p class="fault">{shown.fault}</p>}
      {comments.length + ownComments.length === 0 && shown && (
        <p class="muted">{loaded.length === 0 ? texts.noComments : texts.onlyBlockedComments}</p>
      )}
      <ul class="comments" aria-label={texts.commentList} aria-busy={shown === null}>
        {ownComments.map((entry) => (
          <WaitingComment key={`waiting ${entry.id}`} entry={entry} />
        ))}
        {comments.map((comment) => (
          <StoredComment key={comment.id} comment={comment} />
        ))}
      </ul>
      {shown?.next && (
        <button type="button" class="quiet" onClick={loadMore}>
          {texts.olderComments}
        </button>
      )}
    </>
  );
}

function NewComment({ post }: { post: Post }) {
  const [content, setContent] = useState("");
  const [problem, setProblem] = useState<string | null>(null);
  const fault = checkText("comment", content, limits.value);
  /** Empties the field at once; a comment that could not be stored comes back into it. */
  const store = async () => {
    setContent("");
    const failure = await storageProblem(outbox.add({ kind: "comment", post: post.id, content }));
    setProblem(failure);
    if (failure !== null) setContent((next) => next || content);
  };
  const send = (event: Event) => {
    event.preventDefault();
    if (!isBlank(content) && fault === null) signInThen(() => void store());
  };
  return (
    <form class="new-comment" onSubmit={send}>
      <TextField
        label={texts.comment}
        value={content}
        change={setContent}
        lines={2}
        placeholder={texts.commentHint}
        fault={(fault && texts.fault(fault)) ?? problem}
      />
      <button class="primary" disabled={isBlank(content)}>
        {texts.send}
      </button>
    </form>
  );
}

function WaitingComment({ entry }: { entry: Entry }) {
  if (entry.work.kind !== "comment") return null;
  return (
    <li class="comment pending">
      <p class="by">
        <bdi class="who">{me.session.value?.name ?? entry.owner}</bdi> <span class="muted">{stateText(entry)}</span>
      </p>
      <p class="content" dir="auto">
        {entry.work.content}
      </p>
    </li>
  );
}

function StoredComment({ comment: stored }: { comment: Comment }) {
  const action = useSignal<"edit" | "delete" | null>(null);
  const ownComments = me.session.value?.user === stored.creator;
  const works = outbox.ownEntries.value.map(({ work }) => work);
  const isLeaving = works.some((work) => work.kind === "delete comment" && work.comment === stored.id);
  const edit = works.findLast((work) => work.kind === "edit comment" && work.comment === stored.id);
  const comment = edit?.kind === "edit comment" ? { ...stored, content: edit.content } : stored;
  const close = () => (action.value = null);
  return (
    <li class={isLeaving ? "comment leaving" : "comment"}>
      <p class="by">
        <bdi class="who">{creatorName(comment)}</bdi> <Time at={comment.created_at} edited={comment.edited_at} />
      </p>
      {action.value === "edit" ? (
        <EditComment comment={comment} close={close} />
      ) : (
        <p class="content" dir="auto">
          {comment.content}
        </p>
      )}
      {ownComments && action.value === null && (
        <p class="row actions">
          <button type="button" class="quiet" onClick={() => (action.value = "edit")}>
            {texts.edit}
          </button>
          <button type="button" class="quiet" onClick={() => (action.value = "delete")}>
            {texts.delete}
          </button>
        </p>
      )}
      {!ownComments && <ReportComment comment={comment} />}
      {action.value === "delete" && <DeleteComment comment={comment} close={close} />}
    </li>
  );
}

function ReportComment({ comment }: { comment: Comment }) {
  const { id, post_id: post, creator, content } = comment;
  const creatorsName = creatorName(comment);
  const about = `${texts.commentBy(creatorsName)}: ${content}`;
  return (
    <p class="row actions">
      <button type="button" class="quiet" onClick={() => openReport({ post, comment: id, creator, creatorName: creatorsName, about })}>
        {texts.report}
      </button>
      {reportedComments.value.has(id) && <span class="hint">{texts.reported}</span>}
    </p>
  );
}

function DeleteComment({ comment, close }: { comment: Comment; close: () => void }) {
  const act = () => void outbox.add({ kind: "delete comment", post: comment.post_id, comment: comment.id });
  return <Confirm question={texts.deleteComment} yes={texts.delete} act={act} close={close} />;
}

function EditComment({ comment, close }: { comment: Comment; close: () => void }) {
  const [content, setContent] = useState(comment.content);
  const base = useState({ content: comment.content })[0];
  const fault = checkText("comment", content, limits.value);
  const save = (event: Event) => {
    event.preventDefault();
    if (fault !== null || isBlank(content)) return;
    const work: CommentEdit = { kind: "edit comment", post: comment.post_id, comment: comment.id, content, base };
    if (content !== base.content) void outbox.add(work);
    close();
  };
  return (
    <form onSubmit={save}>
      <TextField label={texts.editComment} value={content} change={setContent} lines={2} fault={fault && texts.fault(fault)} />
      <div class="row">
        <button class="primary">{texts.save}</button>
        <button type="button" onClick={close}>
          {texts.cancel}
        </button>
      </div>
    </form>
  );
}
