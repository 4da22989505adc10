/**
 * Zoom on an image by pinch, double tap, wheel and drag. Not by a library: a modal `dialog` makes the lightboxes
 * of libraries inert, because they are outside of it. This code has a tenth of their size.
 */
const MAX_SCALE = 6;
const DOUBLE_TAP_SCALE = 2.5;
const DOUBLE_TAP_MS = 300;
const TAP_PX = 12;

interface Point {
  x: number;
  y: number;
}

/** Makes the first image in `frame` zoomable; returns a function that undoes it. */
export function makeZoomable(frame: HTMLElement): () => void {
  const zoom = new Zoom(frame);
  const listeners: [string, (event: never) => void][] = [
    ["pointerdown", zoom.down],
    ["pointermove", zoom.move],
    ["pointerup", zoom.up],
    ["pointercancel", zoom.up],
    ["wheel", zoom.wheel],
  ];
  for (const [name, listener] of listeners) frame.addEventListener(name, listener as EventListener, { passive: false });
  return () => {
    for (const [name, listener] of listeners) frame.removeEventListener(name, listener as EventListener);
  };
}

class Zoom {
  readonly #pointers = new Map<number, Point>();
  #scale = 1;
  #offset: Point = { x: 0, y: 0 };
  #tap = { at: 0, x: 0, y: 0 };

  constructor(readonly frame: HTMLElement) {}

  readonly down = (event: PointerEvent): void => {
    this.frame.setPointerCapture(event.pointerId);
    this.#pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (this.#pointers.size === 1 && this.#isSecondTap(event)) this.#toggle(event);
  };

  readonly move = (event: PointerEvent): void => {
    const before = this.#pointers.get(event.pointerId);
    if (before === undefined) return;
    const other = [...this.#pointers.entries()].find(([id]) => id !== event.pointerId)?.[1];
    const now = { x: event.clientX, y: event.clientY };
    if (other !== undefined) this.#pinch(other, before, now);
    else if (this.#scale > 1) this.#shift(now.x - before.x, now.y - before.y);
    this.#pointers.set(event.pointerId, now);
  };

  readonly up = (event: PointerEvent): void => {
    this.#pointers.delete(event.pointerId);
  };

  readonly wheel = (event: WheelEvent): void => {
    if (!event.ctrlKey && this.#scale === 1) return;
    event.preventDefault();
    this.#zoomTo(this.#scale * Math.exp(-event.deltaY / 300), event.clientX, event.clientY);
  };

  #isSecondTap(event: PointerEvent): boolean {
    const last = this.#tap;
    const isNear = Math.hypot(event.clientX - last.x, event.clientY - last.y) < TAP_PX;
    this.#tap = { at: event.timeStamp, x: event.clientX, y: event.clientY };
    return isNear && event.timeStamp - last.at < DOUBLE_TAP_MS;
  }

  #toggle(event: PointerEvent): void {
    this.#zoomTo(this.#scale > 1 ? 1 : DOUBLE_TAP_SCALE, event.clientX, event.clientY);
  }

  #pinch(fixed: Point, before: Point, now: Point): void {
    const distance = (point: Point) => Math.hypot(point.x - fixed.x, point.y - fixed.y) || 1;
    const ratio = distance(now) / distance(before);
    this.#zoomTo(this.#scale * ratio, (fixed.x + now.x) / 2, (fixed.y + now.y) / 2);
    this.#shift((now.x - before.x) / 2, (now.y - before.y) / 2);
  }

  /** Zooms around a point: the same part of the image stays under it. */
  #zoomTo(requested: number, x: number, y: number): void {
    const scale = Math.min(MAX_SCALE, Math.max(1, requested));
    const box = this.frame.getBoundingClientRect();
    const from = { x: x - box.left - box.width / 2, y: y - box.top - box.height / 2 };
    const ratio = scale / this.#scale;
    this.#scale = scale;
    this.#place(from.x - (from.x - this.#offset.x) * ratio, from.y - (from.y - this.#offset.y) * ratio);
  }

  #shift(x: number, y: number): void {
    this.#place(this.#offset.x + x, this.#offset.y + y);
  }

  /** Moves the image so that it always fills the frame. */
  #place(x: number, y: number): void {
    const { clientWidth, clientHeight } = this.frame;
    const slack = { x: (clientWidth * (this.#scale - 1)) / 2, y: (clientHeight * (this.#scale - 1)) / 2 };
    this.#offset = { x: Math.max(-slack.x, Math.min(slack.x, x)), y: Math.max(-slack.y, Math.min(slack.y, y)) };
    const image = this.frame.querySelector("img");
    if (image === null) return;
    image.style.transform = `translate(${this.#offset.x}px, ${this.#offset.y}px) scale(${this.#scale})`;
    this.frame.style.cursor = this.#scale > 1 ? "grab" : "zoom-in";
  }
}
