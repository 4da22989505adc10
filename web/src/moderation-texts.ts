/** The texts of the views that are loaded when they are first opened, in the browser's language. */
import { language } from "./texts";
import { de } from "./texts/moderation-de";
import { en, type ModerationTexts } from "./texts/moderation-en";

const LANGUAGES: Record<string, ModerationTexts> = { en, de };

export const moderationTexts = LANGUAGES[language] ?? en;
