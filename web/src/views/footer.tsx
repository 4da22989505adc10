/** The footer: the operator's rules and contact, where they are set (`GET /limits`). */
import { limits } from "../limits";
import { texts } from "../texts";

/** The schemes that a link may have: never a script. */
const LINK = /^(https?:\/\/|mailto:)/i;
const MAIL = /^[^\s@:/]+@[^\s@:/]+$/;

export function Footer() {
  const { rules_url: rules, contact } = limits.value ?? {};
  if (!rules && !contact) return null;
  return (
    <footer class="foot">
      {rules && <RulesLink url={rules} />}
      {contact && <Contact contact={contact} />}
    </footer>
  );
}

/** A link to the rules; nothing for an address of another scheme. */
export function RulesLink({ url }: { url: string }) {
  if (!LINK.test(url)) return null;
  return (
    <a href={url} target="_blank" rel="noreferrer">
      {texts.rules}
    </a>
  );
}

/** A link for an address of the web or of e-mail, else the text itself. */
function Contact({ contact }: { contact: string }) {
  if (LINK.test(contact)) return <a href={contact}>{texts.contact}</a>;
  if (MAIL.test(contact)) return <a href={`mailto:${contact}`}>{texts.contact}</a>;
  return (
    <span>
      {texts.contact}: {contact}
    </span>
  );
}
