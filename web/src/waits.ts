/**
 * The remaining wait of an entry, measured by the page's own time (`performance.now`), which does not change with
 * the device's clock. The clock counts only once, when the page first sees the wait: after a reload.
 */
import { type Entry, remainingMs } from "./queue";

export class Waits {
  readonly #ends = new Map<number, { at: number; end: number }>();

  /** `deviceTime` is the device's clock, `pageTime` the page's own time, both in milliseconds. */
  constructor(
    readonly deviceTime: () => number,
    readonly pageTime: () => number,
  ) {}

  readonly remaining = (entry: Entry): number => {
    if (entry.state.is !== "retrying") {
      this.#ends.delete(entry.id);
      return 0;
    }
    const { at } = entry.state;
    const former = this.#ends.get(entry.id);
    if (former?.at === at) return Math.max(0, former.end - this.pageTime());
    const wait = remainingMs(entry, this.deviceTime());
    this.#ends.set(entry.id, { at, end: this.pageTime() + wait });
    return wait;
  };
}

/** The waits of this page; the sender and the views share them. */
export const waits = new Waits(
  () => Date.now(),
  () => performance.now(),
);
