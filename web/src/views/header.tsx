/** The page's header, one row: the order of the feed, `New post`, and the session's actions, in a menu on narrow windows. */
import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import * as feed from "../feed";
import * as me from "../me";
import * as outbox from "../outbox";
import { countText, watchQueue } from "../moderation-queue";
import { texts } from "../texts";
import { openComposer } from "./composer";
import { isAccountOpen, isModerationOpen } from "./dialogs";
import { Confirm, Icon } from "./parts";
import { openSignIn } from "./sign-in";

const PLUS = "M12 5v14M5 12h14";
const PERSON = "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8M4.5 20a7.5 7.5 0 0 1 15 0";

export function Header() {
  return (
    <header class="bar">
      <div class="bar-inside">
        <h1 class="brand">{texts.title}</h1>
        <SortChoice />
        <div class="row who-is-on">
          <CompactButton name={texts.newPost} path={PLUS} class="primary" onClick={() => openComposer()} />
          {/* With keys, so that no button becomes another one that then has its focus. */}
          {me.session.value === null ? <SignInButton key="sign in" /> : <SessionMenu key="session" current={me.session.value} />}
        </div>
      </div>
    </header>
  );
}

function SortChoice() {
  const orders: [feed.Sort, string][] = [
    ["top", texts.top],
    ["new", texts.newest],
  ];
  return (
    <div class="sorts" role="radiogroup" aria-label={texts.sort}>
      {orders.map(([order, label]) => (
        <label key={order}>
          <input type="radio" name="sort" value={order} checked={feed.sort.value === order} onChange={() => void feed.startWalk(order)} />
          <span>{label}</span>
        </label>
      ))}
    </div>
  );
}

interface CompactProps {
  name: string;
  path: string;
  class?: string;
  onClick: () => void;
}

/** A button with its name; on a phone with an icon only. */
function CompactButton({ name, path, class: kind = "", onClick }: CompactProps) {
  return (
    <button type="button" class={`compact ${kind}`} title={name} onClick={onClick}>
      <Icon path={path} />
      <span class="label">{name}</span>
    </button>
  );
}

function SignInButton() {
  return <CompactButton name={texts.signIn} path={PERSON} onClick={() => openSignIn()} />;
}

/** True while the menu of a narrow window is open. */
const isMenuOpen = signal(false);
me.sessionEnds.subscribe(() => (isMenuOpen.value = false));

function SessionMenu({ current }: { current: me.Session }) {
  const menu = useRef<HTMLDivElement>(null);
  const toggle = useRef<HTMLButtonElement>(null);
  const isOpen = isMenuOpen.value;
  const [isAsking, setAsking] = useState(false);
  const waiting = outbox.ownEntries.value.length;
  useMenuEnds(menu, toggle);
  /** Closes the menu before an action. A dialog gives the focus back to the element that had it: one that stays visible. */
  const choose = (act: () => void) => () => {
    isMenuOpen.value = false;
    if (toggle.current?.offsetParent) toggle.current.focus();
    act();
  };
  return (
    <div ref={menu} class="session">
      <button
        ref={toggle}
        type="button"
        class="menu-button"
        aria-label={texts.menu}
        aria-expanded={isOpen}
        aria-controls="menu"
        onClick={() => (isMenuOpen.value = !isOpen)}
      >
        <span aria-hidden="true">{[...current.name][0]?.toUpperCase()}</span>
      </button>
      <div id="menu" class={isOpen ? "menu open" : "menu"}>
        <span class="on" title={texts.signedInAs(current.name)}>
          <bdi>{current.name}</bdi>
        </span>
        {current.expired && <MenuItem onClick={choose(openSignIn)}>{texts.signIn}</MenuItem>}
        {current.admin && <ModerationItem current={current} choose={choose} />}
        <MenuItem onClick={choose(() => (isAccountOpen.value = true))}>{texts.account}</MenuItem>
        <MenuItem onClick={choose(() => (waiting > 0 ? setAsking(true) : signOut()))}>{texts.signOut}</MenuItem>
      </div>
      {/* Outside of the menu, which closes: a dialog within would close with it. */}
      {isAsking && (
        <Confirm
          question={texts.signOutQuestion}
          hint={texts.signOutWaiting(waiting)}
          yes={texts.signOut}
          act={signOut}
          close={() => setAsking(false)}
        />
      )}
    </div>
  );
}

/** Closes the menu at `Escape`, and at a press elsewhere. */
function useMenuEnds(menu: { current: HTMLElement | null }, toggle: { current: HTMLElement | null }): void {
  useEffect(() => {
    if (!isMenuOpen.value) return undefined;
    const onKey = (event: KeyboardEvent) => {
      if (event.key !== "Escape") return;
      isMenuOpen.value = false;
      toggle.current?.focus();
    };
    const onPress = (event: Event) => {
      if (event.target instanceof Node && !menu.current?.contains(event.target)) isMenuOpen.value = false;
    };
    addEventListener("keydown", onKey);
    addEventListener("pointerdown", onPress);
    return () => {
      removeEventListener("keydown", onKey);
      removeEventListener("pointerdown", onPress);
    };
  }, [isMenuOpen.value]);
}

function MenuItem({ onClick, children }: { onClick: () => void; children: ComponentChildren }) {
  return (
    <button type="button" class="quiet" onClick={onClick}>
      {children}
    </button>
  );
}

/** The button `Moderation (N)`, of admins. */
function ModerationItem({ current, choose }: { current: me.Session; choose: (act: () => void) => () => void }) {
  useEffect(watchQueue, [current.id]);
  return <MenuItem onClick={choose(() => (isModerationOpen.value = true))}>{texts.moderation(countText())}</MenuItem>;
}

function signOut(): void {
  void me.signOut(outbox.ownEntries.peek().some(outbox.isInMemoryOnly));
}
