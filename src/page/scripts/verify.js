// Code that verifies a signature, for receivers.
"use strict";

const LANGUAGES = { typescript: "TypeScript", python: "Python", go: "Go" };

function Verify() {
  const [chosen, choose] = useState("typescript");
  const code = document.getElementById(`verify-${chosen}`).textContent;
  return html`<section aria-label=${t.verify.title}>
    <h2>${t.verify.title}</h2>
    <p>${t.verify.about}</p>
    <div class="row"><${Toggle} label=${t.verify.language} value=${chosen} choose=${choose} options=${Object.entries(LANGUAGES)} />
      <${Copy} text=${code} what=${t.verify.copyCode} /></div>
    <pre tabindex="0" class="code"><code>${code}</code></pre>
    <table><thead><tr><th scope="col">${t.verify.header}</th><th scope="col">${t.verify.value}</th></tr></thead>
      <tbody>${Object.entries(t.verify.headers).map(([name, value]) => html`<tr><td><code>${name}</code></td><td>${value}</td></tr>`)}</tbody></table>
  </section>`;
}
