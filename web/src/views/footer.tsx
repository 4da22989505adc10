/** The footer: the operator's rules and contact, where they are set (`GET /limits`). */
import { limits } from "../limits";
import { texts } from "../texts";

const WEB = /^https?:\/\//i;
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

/** A link to the rules; nothing for an address that is not of the web. */
export function RulesLink({ url }: { url: string }) {
  if (!WEB.test(url)) return null;
  return (
    <a href={url} target="_blank" rel="noreferrer">
      {texts.rules}
    </a>
  );
}

/** A link for an address of the web or of e-mail, else the text itself. */
function Contact({ contact }: { contact: string }) {
  if (WEB.test(contact) || /^mailto:/i.test(contact)) return <a href={contact}>{texts.contact}</a>;
  if (MAIL.test(contact)) return <a href={`mailto:${contact}`}>{texts.contact}</a>;
  return (
    <span>
      {texts.contact}: {contact}
    </span>
  );
}
