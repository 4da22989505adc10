/** One post, large, with its comments. */
import { useEffect, useRef, useState } from "preact/hooks";
import { RefusedError, resolveUrl } from "../api";
import * as feed from "../feed";
import * as me from "../me";
import { readPost, creatorName, type Post } from "../posts";
import { texts } from "../texts";
import { visiblePosts } from "../visible";
import { withheldPosts } from "../withheld";
import { Comments } from "./comments";
import { Blur, Dialog, DialogTitle, IconButton, Time } from "./parts";
import { postName, ReportPost, withOwnEdits } from "./post";
import { isPrivateImage, usePrivateImage } from "./private-image";
import { openPostInPlace, openPost } from "./route";
import { Notice } from "./withheld";
import { makeZoomable } from "./zoom";

export function Viewer() {
  const id = openPost.value;
  return id === null ? null : <PostDialog id={id} />;
}

/** The post from the feed, or of the user's own that nobody else sees; from the service if the page was opened by a link. */
function usePost(id: string): Post | "gone" | null {
  const feedPost = feed.postById(id)?.value ?? withheldPosts.value.find((post) => post.id === id);
  const [readResult, setReadResult] = useState<Post | "gone" | null>(null);
  useEffect(() => {
    setReadResult(null);
    if (feedPost !== undefined) return;
    readPost(id, me.session.value?.identity ?? null).then(setReadResult, (error: unknown) => {
      if (error instanceof RefusedError) setReadResult("gone");
    });
  }, [id, feedPost === undefined]);
  return feedPost ?? readResult;
}

function PostDialog({ id }: { id: string }) {
  const readResult = usePost(id);
  const post = typeof readResult === "object" && readResult !== null ? withOwnEdits(readResult) : null;
  const close = () => openPostInPlace(null);
  const name = post ? postName(post) : texts.loading;
  return (
    <Dialog name={name} close={close} class="viewer">
      <Stage post={post} />
      <section class="aside">
        <DialogTitle close={close}>{post ? <Heading post={post} /> : texts.loading}</DialogTitle>
        {readResult === "gone" && <p class="fault">{texts.postGone}</p>}
        {post?.caption && (
          <p class="caption whole" dir="auto">
            {post.caption}
          </p>
        )}
        {post && <Notice post={post} />}
        {post?.status === "ready" && (
          <p class="row actions">
            <ReportPost post={post} />
          </p>
        )}
        {post?.status === "ready" && <Comments key={id} post={post} />}
      </section>
    </Dialog>
  );
}

function Heading({ post }: { post: Post }) {
  return (
    <>
      <bdi class="who">{creatorName(post)}</bdi> <Time at={post.created_at} edited={post.edited_at} />
    </>
  );
}

function neighbour(id: string, step: number): string | null {
  const ids = visiblePosts.value.map((post) => post.value.id);
  const at = ids.indexOf(id);
  return at < 0 ? null : (ids[at + step] ?? null);
}

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && target.closest("input, textarea") !== null;
}

/** The large rendition, between its neighbours in the feed. */
function Stage({ post }: { post: Post | null }) {
  const before = post && neighbour(post.id, -1);
  const after = post && neighbour(post.id, 1);
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const forward = document.dir === "rtl" ? "ArrowLeft" : "ArrowRight";
      if (!event.key.startsWith("Arrow") || /Up|Down/.test(event.key) || isTyping(event.target)) return;
      const to = event.key === forward ? after : before;
      if (to) openPostInPlace(to);
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [before, after]);
  const large = post?.image?.large;
  const shape = large ? String(large.width / large.height) : "1";
  return (
    <div class="stage" style={{ "--shape": shape }}>
      {post?.image && <LargeImage key={post.id} post={post} image={post.image} />}
      {before && <IconButton class="previous" name={texts.previous} onClick={() => openPostInPlace(before)} path="M15 5l-7 7 7 7" />}
      {after && <IconButton class="next" name={texts.next} onClick={() => openPostInPlace(after)} path="M9 5l7 7-7 7" />}
    </div>
  );
}

function LargeImage({ post, image }: { post: Post; image: NonNullable<Post["image"]> }) {
  const frame = useRef<HTMLDivElement>(null);
  const [loaded, setLoaded] = useState(false);
  const { large } = image;
  const isPrivate = isPrivateImage(large.url);
  const privateUrl = usePrivateImage(isPrivate ? large.url : null);
  const source = isPrivate ? privateUrl : resolveUrl(large.url);
  useEffect(() => (frame.current && source !== null ? makeZoomable(frame.current) : undefined), [source]);
  return (
    <div ref={frame} class="zoom">
      {!loaded && <Blur hash={image.placeholder} />}
      {source !== null && (
        <img
          src={source}
          width={large.width}
          height={large.height}
          alt={post.alt || postName(post)}
          draggable={false}
          onLoad={() => setLoaded(true)}
        />
      )}
    </div>
  );
}
