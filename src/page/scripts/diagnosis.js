// The health check of an endpoint.
"use strict";

/** Times of the server in the browser's zone. */
const localized = (text) => text.replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, (time) => (isTime(time) ? format.at(time) : time));

function Check({ code, question, is_fine, result, what_to_do }) {
  const [title, remedy] = t.check.codes[code] ?? [question];
  const [name, mark, said] = is_fine ? ["fine", "\u2713", t.check.fine] : is_fine === false ? ["wrong", "!", t.check.wrong] : ["unknown", "?", t.check.unknown];
  const advice = what_to_do && (remedy ?? what_to_do.replace(/ Then recover_webhooks.*$/, ""));
  return html`<li class=${name}>
    <span class="mark" aria-hidden="true">${mark}</span>
    <div><strong>${title}</strong><span class="unseen">${said}:</span> ${localized(result)}
    ${advice && html`<p class="what">${advice}</p>`}</div>
  </li>`;
}

function Diagnosis({ endpoint }) {
  const diagnosis = useLoad((signal) => api.call("diagnose_webhook", { endpoint_id: endpoint.id }, signal), [endpoint]);
  return html`<section aria-label=${t.check.diagnosis}>
    <header class="row"><h2>${t.check.title}</h2>
      <button type="button" class="small outline" onClick=${diagnosis.reload}>${t.check.again}</button></header>
    <${Loaded} of=${diagnosis} what=${t.check.loading}>${(checks) => html`
      ${checks.every((row) => row.is_fine !== false) && html`<p class="note good" role="status">${t.check.noProblems}</p>`}
      <ul class="checks">${checks.map((row) => html`<${Check} ...${row} />`)}</ul>`}<//>
    <p><a href="#/endpoints/${endpoint.id}/history?status=failed">${t.check.failedOnes}</a></p>
  </section>`;
}
