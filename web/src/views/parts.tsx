/** Components that several views use. */
import { decodeBlurHash } from "fast-blurhash";
import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";
import { relativeTime, texts, exactTime } from "../texts";

interface DialogProps {
  name: string;
  close: () => void;
  children: ComponentChildren;
  class?: string;
  alert?: boolean;
}

/** A modal dialog; when it closes, the element that opened it has the focus again. */
export function Dialog({ name, close, children, class: kind = "", alert = false }: DialogProps) {
  const element = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const opener = document.activeElement;
    element.current?.showModal();
    return () => giveFocusBack(opener);
  }, []);
  const onClick = (event: MouseEvent) => {
    if (event.target === element.current) close();
  };
  const onCancel = (event: Event) => {
    event.preventDefault();
    close();
  };
  return (
    <dialog ref={element} class={`dialog ${kind}`} role={alert ? "alertdialog" : "dialog"} aria-label={name} onCancel={onCancel} onClick={onClick}>
      {children}
    </dialog>
  );
}

function giveFocusBack(opener: Element | null): void {
  const target = opener instanceof HTMLElement && opener.isConnected ? opener : document.querySelector("main");
  // After the dialog has closed: until then all elements behind it are inert.
  setTimeout(() => {
    if (document.querySelector("dialog[open]") === null || target?.closest("dialog")) target?.focus({ preventScroll: true });
  });
}

export function DialogTitle({ children, close }: { children: ComponentChildren; close: () => void }) {
  return (
    <header class="dialog-title">
      <h2 dir="auto">{children}</h2>
      <IconButton name={texts.close} onClick={close} path="M5 5l14 14M19 5L5 19" />
    </header>
  );
}

interface IconButtonProps {
  name: string;
  onClick: () => void;
  path: string;
  class?: string;
  disabled?: boolean;
}

export function IconButton({ name, onClick, path, class: kind = "", disabled = false }: IconButtonProps) {
  return (
    <button type="button" class={`icon ${kind}`} aria-label={name} onClick={onClick} disabled={disabled}>
      <Icon path={path} />
    </button>
  );
}

export function Icon({ path }: { path: string }) {
  return (
    <svg class="drawing" viewBox="0 0 24 24" aria-hidden="true">
      <path d={path} />
    </svg>
  );
}

interface ConfirmProps {
  question: string;
  hint?: string;
  yes: string;
  act: () => void;
  close: () => void;
}

export function Confirm({ question, hint, yes, act, close }: ConfirmProps) {
  const confirm = () => {
    act();
    close();
  };
  return (
    <Dialog name={question} close={close} class="small" alert>
      <h2>{question}</h2>
      {hint && <p class="muted">{hint}</p>}
      <footer class="row end">
        <button type="button" onClick={close}>
          {texts.cancel}
        </button>
        <button type="button" class="primary" onClick={confirm}>
          {yes}
        </button>
      </footer>
    </Dialog>
  );
}

interface TextFieldProps {
  label: string;
  value: string;
  change: (value: string) => void;
  hint?: string;
  fault?: string | null;
  lines?: number;
  placeholder?: string;
}

export function TextField({ label, value, change, hint, fault, lines = 1, placeholder }: TextFieldProps) {
  const id = useId();
  const note = fault ?? hint;
  const shared = {
    id,
    value,
    dir: "auto" as const,
    placeholder,
    "aria-invalid": fault ? true : undefined,
    "aria-describedby": note ? `${id}-note` : undefined,
    onInput: (event: Event) => change((event.currentTarget as HTMLInputElement).value),
  };
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {lines > 1 ? <textarea rows={lines} {...shared} /> : <input type="text" autocomplete="off" {...shared} />}
      {note && (
        <p id={`${id}-note`} class={fault ? "fault" : "hint"}>
          {note}
        </p>
      )}
    </div>
  );
}

export function Time({ at, edited }: { at: string; edited: string | null }) {
  return (
    <span class="muted">
      <time dateTime={at} title={exactTime(at)}>
        {relativeTime(at)}
      </time>
      {edited && <span title={exactTime(edited)}> · {texts.edited}</span>}
    </span>
  );
}

const BLUR_SIDE = 24;

/** The placeholder of an image that is not loaded yet. */
export function Blur({ hash }: { hash: string }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    const drawing = canvas.current?.getContext("2d");
    const pixels = drawing?.createImageData(BLUR_SIDE, BLUR_SIDE);
    if (!drawing || !pixels || hash.length < 6) return;
    pixels.data.set(decodeBlurHash(hash, BLUR_SIDE, BLUR_SIDE));
    drawing.putImageData(pixels, 0, 0);
  }, [hash]);
  return <canvas ref={canvas} class="blur" width={BLUR_SIDE} height={BLUR_SIDE} aria-hidden="true" />;
}
