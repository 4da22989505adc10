/** The whole page. */
import { Fragment } from "preact";
import { useEffect, useRef } from "preact/hooks";
import * as feed from "../feed";
import * as me from "../me";
import { problemText, texts } from "../texts";
import { visiblePosts } from "../visible";
import { Composer, useDroppedFiles } from "./composer";
import { LoadedDialogs } from "./dialogs";
import { Footer } from "./footer";
import { Header } from "./header";
import { Outbox } from "./outbox";
import { PostCard } from "./post";
import { SignInDialog } from "./sign-in";
import { Status } from "./status";
import { Viewer } from "./viewer";
import { WithheldPosts } from "./withheld";

export function App() {
  useDroppedFiles();
  // A new key for the next user removes all inputs and dialogs of the last one.
  return (
    <Fragment key={me.sessionEnds.value}>
      <Header />
      <main tabIndex={-1}>
        <Outbox />
        <WithheldPosts />
        <Feed />
      </main>
      <Footer />
      <Status />
      <Viewer />
      <Composer />
      <LoadedDialogs />
      <SignInDialog />
    </Fragment>
  );
}

/** The most images that can be in view when the page opens. */
const FIRST_IMAGES = 3;

function Feed() {
  const posts = visiblePosts.value;
  const state = feed.state.value;
  return (
    <>
      <div class="feed" aria-busy={state === "loading"}>
        {posts.map((post, place) => (
          <PostCard key={post.value.id} post={post} first={place < FIRST_IMAGES} />
        ))}
        {state === "loading" && posts.length === 0 && [1, 2, 3].map((place) => <Skeleton key={place} />)}
      </div>
      <FeedEnd />
    </>
  );
}

function Skeleton() {
  return (
    <div class="card skeleton" aria-hidden="true">
      <div class="frame" />
      <div class="line" />
      <div class="line short" />
    </div>
  );
}

function FeedEnd() {
  const state = feed.state.value;
  if (state === "end") return <p class="muted feed-end">{feed.posts.value.length > 0 ? texts.end : texts.nothingYet}</p>;
  if (state === "failed") {
    return (
      <div class="feed-end">
        <p class="fault">{problemText(feed.refusal.value) ?? texts.feedFailed}</p>
        <button type="button" onClick={() => void feed.loadMore()}>
          {texts.tryAgain}
        </button>
      </div>
    );
  }
  return feed.posts.value.length > 0 ? <ShowMore /> : null;
}

/** Loads the next page before the button comes into view. */
function ShowMore() {
  const button = useRef<HTMLButtonElement>(null);
  const state = feed.state.value;
  // Observe again after each page, even an empty one: while the button is in view, loading continues.
  useEffect(() => {
    if (state === "loading") return undefined;
    const observer = new IntersectionObserver(
      ([entry]) => {
        if (entry?.isIntersecting) void feed.loadMore();
      },
      { rootMargin: "600px" },
    );
    if (button.current) observer.observe(button.current);
    return () => observer.disconnect();
  }, [state]);
  return (
    <div class="feed-end">
      <button ref={button} type="button" onClick={() => void feed.loadMore()} aria-disabled={state === "loading"}>
        {state === "loading" ? texts.loading : texts.showMore}
      </button>
    </div>
  );
}
