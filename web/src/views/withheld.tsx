/** The user's own posts that nobody else sees, with the decision and `Appeal`. */
import { useSignal } from "@preact/signals";
import { resolveUrl, type Schemas } from "../api";
import * as outbox from "../outbox";
import type { Post } from "../posts";
import { relativeTime, texts } from "../texts";
import { withheldPosts } from "../withheld";
import { appealed } from "./dialogs";
import { Blur, Time } from "./parts";
import { DeletePost, postName } from "./post";
import { isPrivateImage, usePrivateImage } from "./private-image";
import { hrefOf } from "./route";

export function WithheldPosts() {
  const posts = withheldPosts.value;
  if (posts.length === 0) return null;
  return (
    <section class="withheld" aria-label={texts.withheld}>
      <h2>{texts.withheld}</h2>
      <ul>
        {posts.map((post) => (
          <li key={post.id}>
            <WithheldPost post={post} />
          </li>
        ))}
      </ul>
    </section>
  );
}

function WithheldPost({ post }: { post: Post }) {
  const isAsking = useSignal(false);
  const isDeleted = outbox.ownEntries.value.some(({ work }) => work.kind === "delete post" && work.post === post.id);
  return (
    <article class={isDeleted ? "withheld-post leaving" : "withheld-post"} aria-label={postName(post)}>
      <a class="frame" href={hrefOf(post.id)} aria-label={postName(post)}>
        <SmallImage post={post} />
      </a>
      <div class="withheld-words">
        <p class="caption" dir="auto">
          {post.caption} <Time at={post.created_at} edited={post.edited_at} />
        </p>
        <Notice post={post} />
        <p class="row actions">
          <button type="button" class="quiet" onClick={() => (isAsking.value = true)}>
            {texts.delete}
          </button>
        </p>
      </div>
      {isAsking.value && <DeletePost id={post.id} close={() => (isAsking.value = false)} />}
    </article>
  );
}

function SmallImage({ post }: { post: Post }) {
  const { image } = post;
  const url = usePrivateImage(image && isPrivateImage(image.url) ? image.url : null);
  if (image === null) return null;
  const source = isPrivateImage(image.url) ? url : resolveUrl(image.url);
  return (
    <>
      {source === null && <Blur hash={image.placeholder} />}
      {source !== null && <img src={source} width={image.width} height={image.height} alt={post.alt || postName(post)} />}
    </>
  );
}

/** The state of a post that is not public, the decision's reason and text, and `Appeal`. */
export function Notice({ post }: { post: Post }) {
  const { status, moderation } = post;
  if (status !== "hidden" && status !== "in_review") return null;
  return (
    <div class="notice">
      <p>{texts.notice[status]}</p>
      {moderation && <DecisionReason decision={moderation} />}
      {moderation && <AppealState decision={moderation.id} appeal={moderation.appeal} />}
    </div>
  );
}

export function DecisionReason({ decision }: { decision: Pick<Schemas["NoticeBody"], "reason" | "text"> }) {
  const reason = decision.reason && ((texts.reasons as Record<string, string>)[decision.reason] ?? decision.reason);
  if (!reason && !decision.text) return null;
  return (
    <p class="decision-reason">
      {reason && <strong>{reason}</strong>} {decision.text && <span dir="auto">{decision.text}</span>}
    </p>
  );
}

/** The button `Appeal`, or the state of the appeal. */
export function AppealState({ decision, appeal }: { decision: string; appeal: Schemas["AppealBody"] | null }) {
  const isWaiting = outbox.ownEntries.value.some(({ work }) => work.kind === "appeal" && work.decision === decision);
  if (appeal?.outcome === "dismissed") return <p class="hint">{texts.appealDismissed}</p>;
  if (appeal) return <p class="hint">{texts.appealed(relativeTime(appeal.created_at))}</p>;
  if (isWaiting) return <p class="hint">{texts.appealWaiting}</p>;
  return (
    <button type="button" onClick={() => (appealed.value = decision)}>
      {texts.appeal}
    </button>
  );
}
