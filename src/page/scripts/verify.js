// Code that verifies a signature, for receivers.
"use strict";

const LANGUAGES = { typescript: "TypeScript", python: "Python", go: "Go" };
const HEADERS = [
  ["webhook-id", "the delivery: the same in every attempt"],
  ["webhook-timestamp", "when this attempt was sent, in Unix seconds"],
  ["webhook-signature", "v1, and the HMAC-SHA256 of id.timestamp.body in base64; several, separated by spaces, while a secret is replaced"],
  ["X-Webhook-Signature", "sha256= and the HMAC-SHA256 of the body alone, in hex: it can be replayed, so better verify the one above"],
  ["X-Webhook-Event", "the event type"],
];

function Verify() {
  const [language, choose] = useState("typescript");
  const code = document.getElementById(`verify-${language}`).textContent;
  return html`<section aria-label="Verify the signature">
    <h2>Verify the signature</h2>
    <p>Take the body as it came, before anything parses it. Answer any 2xx within 30 seconds, and do the work afterwards.</p>
    <div class="row" role="group" aria-label="Language">
      ${Object.entries(LANGUAGES).map(([name, text]) => html`<button type="button" class="small ${name === language ? "" : "outline"}"
        aria-pressed=${String(name === language)} onClick=${() => choose(name)}>${text}</button>`)}
      <${Copy} text=${code} what="code" />
    </div>
    <pre tabindex="0" class="code"><code>${code}</code></pre>
    <table><thead><tr><th scope="col">Header</th><th scope="col">Value</th></tr></thead>
      <tbody>${HEADERS.map(([name, value]) => html`<tr><td><code>${name}</code></td><td>${value}</td></tr>`)}</tbody></table>
  </section>`;
}
