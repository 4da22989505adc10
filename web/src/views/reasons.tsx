/** The choice of a reason, of a report or of a decision, and the text that goes with it. */
import { checkText, limits } from "../limits";
import { REASONS } from "../reports";
import { texts } from "../texts";
import type { Reason } from "../works";

interface ReasonsProps {
  chosen: Reason | null;
  choose: (reason: Reason) => void;
  /** Shows a digit beside each reason, which is its key. */
  withKeys?: boolean;
}

export function Reasons({ chosen, choose, withKeys = false }: ReasonsProps) {
  return (
    <fieldset class="reasons">
      <legend>{texts.reason}</legend>
      {REASONS.map((reason, index) => (
        <label key={reason} class="reason">
          <input type="radio" name="reason" value={reason} checked={chosen === reason} onChange={() => choose(reason)} />
          <span>{reasonText(reason)}</span>
          {withKeys && <kbd aria-hidden="true">{index + 1}</kbd>}
        </label>
      ))}
    </fieldset>
  );
}

/** The words for a reason; the reason itself if this page does not know it. */
export function reasonText(reason: string): string {
  return (texts.reasons as Record<string, string>)[reason] ?? reason;
}

/** The fault of the text of a report, a decision or an appeal, as a sentence; null if it has none. */
export function textFault(text: string): string | null {
  const fault = checkText("report", text, limits.value);
  return fault && texts.fault(fault);
}
