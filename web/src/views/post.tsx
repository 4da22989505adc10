/** A post in the feed. */
import { type Signal, useSignal } from "@preact/signals";
import { Component, type ComponentChildren, type RefObject } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { resolveUrl } from "../api";
import * as me from "../me";
import * as outbox from "../outbox";
import { creatorName, type Post } from "../posts";
import type { PostEdit } from "../works";
import { texts } from "../texts";
import { visibleComments } from "../visible";
import { checkText, limits } from "../limits";
import { openReport } from "./dialogs";
import { Blur, Confirm, Dialog, DialogTitle, TextField, Time } from "./parts";
import { hrefOf } from "./route";

export function postName(post: Post): string {
  return post.caption || texts.imageBy(creatorName(post));
}

/** The post with the user's own edits that are not sent yet. */
export function withOwnEdits(post: Post): Post {
  const edits = outbox.ownEntries.value.map((entry) => entry.work).filter((work) => work.kind === "edit post");
  const last = edits.findLast((work) => work.post === post.id);
  return last === undefined ? post : { ...post, caption: last.caption, alt: last.alt };
}

export function countComments(post: Post): number {
  const isOwn = outbox.ownEntries.value.filter(({ work }) => work.kind === "comment" && work.post === post.id);
  return post.total_comments + isOwn.length;
}

interface CardProps {
  post: Signal<Post>;
  /** True if its image is in view when the page opens. */
  first: boolean;
}

/** Draws again only when its own post changes, since a feed may have many posts. */
export class PostCard extends Component<CardProps> {
  override shouldComponentUpdate(next: CardProps): boolean {
    return next.post !== this.props.post || next.first !== this.props.first;
  }

  override render({ post, first }: CardProps): ComponentChildren {
    return <Card post={post} first={first} />;
  }
}

function Card({ post: stored, first }: CardProps) {
  const post = withOwnEdits(stored.value);
  const name = postName(post);
  const isDeleted = outbox.ownEntries.value.some(({ work }) => work.kind === "delete post" && work.post === post.id);
  return (
    <article class={isDeleted ? "card leaving" : "card"} aria-label={name}>
      <a class="frame" href={hrefOf(post.id)}>
        <FeedImage post={post} first={first} />
      </a>
      <div class="said">
        <p class="by">
          <bdi class="who">{creatorName(post)}</bdi> <Time at={post.created_at} edited={post.edited_at} />
        </p>
        {post.caption && (
          <p class="caption" dir="auto">
            {post.caption}
          </p>
        )}
        <LatestComments post={post} />
        <Actions post={post} />
      </div>
    </article>
  );
}

function FeedImage({ post, first }: { post: Post; first: boolean }) {
  const element = useRef<HTMLImageElement>(null);
  const [loaded, setLoaded] = useState(false);
  const wasShown = useRef(false);
  const isFar = useFar(element);
  const { image } = post;
  // An image that was shown and is far away now is released: the browser would keep a long feed decoded.
  const isLoadable = !(isFar && wasShown.current);
  useEffect(() => {
    if (!isLoadable) setLoaded(false);
  }, [isLoadable]);
  const onLoad = () => {
    if (!isLoadable) return;
    wasShown.current = true;
    setLoaded(true);
  };
  if (image === null) return null;
  return (
    <>
      {isLoadable && !loaded && <Blur hash={image.placeholder} />}
      <img
        ref={element}
        loading={first || !isLoadable ? "eager" : "lazy"}
        fetchpriority={first ? "high" : "auto"}
        decoding="async"
        sizes={SIZES}
        srcset={isLoadable ? sources(image) : undefined}
        src={isLoadable ? resolveUrl(image.url) : transparentPixel()}
        width={image.width}
        height={image.height}
        alt={post.alt || postName(post)}
        onLoad={onLoad}
      />
    </>
  );
}

// A GIF of one transparent pixel: screen readers do not announce an image without a source.
const PIXEL = "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7";
let pixel: string | undefined;

function transparentPixel(): string {
  const bytes = () => Uint8Array.from(atob(PIXEL), (byte) => byte.charCodeAt(0));
  return (pixel ??= URL.createObjectURL(new Blob([bytes()], { type: "image/gif" })));
}

/** Farther away than `loading="lazy"` begins to load (Chromium: 2,500 px on slow networks). */
const NEAR = "3000px 0px";

/** True while the post of this image is several windows away. */
function useFar(image: RefObject<HTMLImageElement>): boolean {
  const [isFar, setFar] = useState(false);
  useEffect(() => {
    const observer = new IntersectionObserver((entries) => setFar(entries.at(-1)?.isIntersecting === false), { rootMargin: NEAR });
    const card = image.current?.closest("article");
    if (card) observer.observe(card);
    return () => observer.disconnect();
  }, []);
  return isFar;
}

/** Smaller than the column: on a phone with three device pixels the square is sharp enough, and loads four
 * times as fast. The larger rendition is for tablets, and for windows on dense screens. */
const SIZES = "(min-width: 1080px) 340px, (min-width: 680px) 45vw, 60vw";

type Connection = { saveData?: boolean };

/** Both renditions for `srcset`. The larger one is cropped to the square, so its shorter side counts. */
function sources(image: NonNullable<Post["image"]>): string {
  const { connection } = navigator as { connection?: Connection };
  const small = `${resolveUrl(image.url)} ${image.width}w`;
  const side = Math.min(image.large.width, image.large.height);
  const isEnough = connection?.saveData === true || side <= image.width;
  return isEnough ? small : `${small}, ${resolveUrl(image.large.url)} ${side}w`;
}

function LatestComments({ post }: { post: Post }) {
  const comments = visibleComments(post.latest_comments);
  if (comments.length === 0) return null;
  return (
    <ul class="latest">
      {comments.map((comment) => (
        <li key={comment.id} dir="auto">
          <bdi class="who">{creatorName(comment)}</bdi> {comment.content}
        </li>
      ))}
    </ul>
  );
}

function Actions({ post }: { post: Post }) {
  const action = useSignal<"edit" | "delete" | null>(null);
  const isOwn = me.session.value?.user === post.creator;
  const close = () => (action.value = null);
  return (
    <div class="row actions">
      <button type="button" class="quiet" onClick={() => (location.hash = hrefOf(post.id))}>
        {texts.comments(countComments(post))}
      </button>
      {isOwn && (
        <>
          <button type="button" class="quiet" onClick={() => (action.value = "edit")}>
            {texts.edit}
          </button>
          <button type="button" class="quiet" onClick={() => (action.value = "delete")}>
            {texts.delete}
          </button>
        </>
      )}
      <ReportPost post={post} />
      {action.value === "edit" && <EditPost post={post} close={close} />}
      {action.value === "delete" && <DeletePost id={post.id} close={close} />}
    </div>
  );
}

/** The button `Report` of another user's post. */
export function ReportPost({ post }: { post: Post }) {
  const { id, creator, caption } = post;
  if (me.session.value?.user === creator) return null;
  const creatorsName = creatorName(post);
  const about = caption === "" ? texts.imageBy(creatorsName) : `${texts.imageBy(creatorsName)}: ${caption}`;
  return (
    <button type="button" class="quiet" onClick={() => openReport({ post: id, comment: null, creator, creatorName: creatorsName, about })}>
      {texts.report}
    </button>
  );
}

export function DeletePost({ id, close }: { id: string; close: () => void }) {
  const act = () => void outbox.add({ kind: "delete post", post: id });
  return <Confirm question={texts.deletePost} hint={texts.deletePostHint} yes={texts.delete} act={act} close={close} />;
}

function EditPost({ post, close }: { post: Post; close: () => void }) {
  const [caption, setCaption] = useState(post.caption);
  const [alt, setAlt] = useState(post.alt);
  const base = useState({ caption: post.caption, alt: post.alt })[0];
  const captionFault = checkText("caption", caption, limits.value);
  const altFault = checkText("alt", alt, limits.value);
  const save = (event: Event) => {
    event.preventDefault();
    if (captionFault || altFault) return;
    const work: PostEdit = { kind: "edit post", post: post.id, caption, alt, base };
    if (caption !== base.caption || alt !== base.alt) void outbox.add(work);
    close();
  };
  return (
    <Dialog name={texts.editPost} close={close} class="small">
      <DialogTitle close={close}>{texts.editPost}</DialogTitle>
      <form onSubmit={save}>
        <TextField label={texts.caption} value={caption} change={setCaption} lines={3} fault={captionFault && texts.fault(captionFault)} />
        <TextField label={texts.alt} value={alt} change={setAlt} lines={2} hint={texts.altHint} fault={altFault && texts.fault(altFault)} />
        <footer class="row end">
          <button type="button" onClick={close}>
            {texts.cancel}
          </button>
          <button class="primary">{texts.save}</button>
        </footer>
      </form>
    </Dialog>
  );
}
