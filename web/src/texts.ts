/** The texts in the browser's language, and times as texts. */
import { de } from "./texts/de";
import { en, type Texts } from "./texts/en";

const LANGUAGES: Record<string, Texts> = { en, de };

function preferredLanguage(): string {
  const preferred = (globalThis.navigator?.languages ?? []).map((tag) => tag.slice(0, 2));
  return preferred.find((language) => language in LANGUAGES) ?? "en";
}

export const language = preferredLanguage();
export const texts = LANGUAGES[language] ?? en;

const relative = new Intl.RelativeTimeFormat(language, { numeric: "auto", style: "short" });
const exact = new Intl.DateTimeFormat(language, { dateStyle: "long", timeStyle: "short" });
const UNITS: [Intl.RelativeTimeFormatUnit, number][] = [
  ["year", 31_536_000],
  ["month", 2_592_000],
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
];

export function relativeTime(time: string): string {
  const seconds = (Date.parse(time) - Date.now()) / 1000;
  const [unit, size] = UNITS.find(([, unitSeconds]) => -seconds >= unitSeconds) ?? ["second", 1];
  return relative.format(unit === "second" ? 0 : Math.trunc(seconds / size), unit);
}

export function exactTime(time: string): string {
  return exact.format(new Date(time));
}

/** The text for a problem's code; null for an unknown code. */
export function problemText(code: string | null): string | null {
  return (texts.problems as Record<string, string>)[code ?? ""] ?? null;
}

/** The text for a problem's code; the service's detail if there is none. */
export function problemTextOrDetail(code: string, detail: string): string {
  const text = problemText(code);
  if (code === "validation_failed" && /surrogate/i.test(detail)) return texts.fault({ is: "character", character: "surrogate" });
  // Only the service's detail names the broken rule.
  if (code === "validation_failed" && detail !== "") return `${text} (${detail})`;
  return text ?? (detail || code);
}
