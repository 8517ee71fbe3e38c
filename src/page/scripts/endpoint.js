// One endpoint: its health, and what can be done about it.
"use strict";

const TABS = { overview: "Overview", history: "Deliveries", trouble: "Health check", verify: "Verify signatures" };
const KEEP = { "0": "not at all: somebody else knows it", "1 hour": "for an hour", "24 hours": "for a day", "7 days": "for a week" };

/** The checks of diagnose_webhook() by their codes: a title, and what to do if not all is fine. */
const CHECKS = {
  enabled: ["Turned on", "Correct what is wrong below, then turn it on in the overview."],
  sending: ["The server sends", "Only the operator of the database can change this. Events are kept meanwhile."],
  events: ["Events", "Select the events that you expect in Edit, or send a test. Events from before the endpoint existed can be replayed."],
  triggers: ["The application makes these events", "Only the developers of the application can change this: a trigger is missing or turned off."],
  capture: ["Events are complete", "Only the operator can see why, and send these events once the cause is gone."],
  address: ["Address"],
  requests: ["Last requests"],
  signature: ["Signature", "Verify the body byte for byte as it was received, with the secret of this endpoint. The tab Verify signatures has code for it."],
  response_time: ["Response time", "Answer first and do the work afterwards: a response that is too late counts as a failure, and the webhook is sent again."],
  backlog: ["Waiting deliveries", "They are sent as fast as the endpoint answers, once what is wrong above is corrected."],
};

/** Times of the server in the browser's zone. */
const localized = (text) => text.replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, words.at);

function Check({ code, question, is_fine, result, what_to_do }) {
  const [title, remedy] = CHECKS[code] ?? [question];
  const [name, mark, said] = is_fine ? ["fine", "\u2713", "fine"] : is_fine === false ? ["wrong", "!", "wrong"] : ["unknown", "?", "to be checked"];
  const advice = what_to_do && (remedy ?? what_to_do.replace(/ Then recover_webhooks.*$/, ""));
  return html`<li class=${name}>
    <span class="mark" aria-hidden="true">${mark}</span>
    <div><strong>${title}</strong><span class="unseen">${said}:</span> ${localized(result)}
    ${advice && html`<p class="what">${advice}</p>`}</div>
  </li>`;
}

function Diagnosis({ endpoint }) {
  const diagnosis = useLoad((signal) => api.call("diagnose_webhook", { endpoint_id: endpoint.id }, signal), [endpoint]);
  return html`<section aria-label="Diagnosis">
    <header class="row"><h2>Health check</h2>
      <button type="button" class="small outline" onClick=${diagnosis.reload}>Check again</button></header>
    <${Loaded} of=${diagnosis} what="the health check, which looks up the name">${(checks) => html`
      ${checks.every((row) => row.is_fine !== false) && html`<p class="note good" role="status">No problems found.</p>`}
      <ul class="checks">${checks.map((row) => html`<${Check} ...${row} />`)}</ul>`}<//>
  </section>`;
}

/** Sends again what failed, once it is said how much that is. */
function Recovery({ endpoint }) {
  const [hours, setHours] = useState("24");
  const [found, setFound] = useState(null);
  const [problem, setProblem] = useState(null);
  const choose = (hours) => (setHours(hours), setFound(null));
  async function count() {
    const since = new Date(Date.now() - hours * HOUR).toISOString();
    setFound({ since, count: await api.call("recover_webhooks", { endpoint_id: endpoint.id, since, dry_run: true }) });
  }
  async function recover() {
    const count = await api.call("recover_webhooks", { endpoint_id: endpoint.id, since: found.since });
    notices.tell(`Sent again: ${count}.`);
    setFound(null);
  }
  return html`<section aria-label="Send again what failed">
    <h2>Send again what failed</h2>
    <div class="row"><${Choice} label="Queued in the" value=${hours} choose=${choose} options=${CHOICES.hours.slice(1)} />
      ${found?.count ? html`<${Action} act=${recover} onProblem=${setProblem}>Send ${words.number(found.count)} again<//>`
        : html`<${Action} class="outline" act=${count} onProblem=${setProblem}>Count them<//>`}</div>
    ${found?.count === 0 && html`<p role="status">Nothing has failed in that time.</p>`}
    <${ProblemNote} problem=${problem} />
  </section>`;
}

function Rotation({ endpoint, done, close }) {
  const [keep, setKeep] = useState("24 hours");
  const rotate = async () => done(await api.call("rotate_webhook_secret", { endpoint_id: endpoint.id, keep_old_for: keep }));
  return html`<${Question} title="Replace the signing secret?" yes="Replace" act=${rotate} close=${close}>
    <p>A new one is generated and shown once. While the old one is kept, <code>webhook-signature</code> carries both signatures, and
      <code>X-Webhook-Signature</code> the new one's.</p>
    <${Choice} label="Keep the old one" value=${keep} choose=${setKeep} options=${Object.entries(KEEP)} />
  <//>`;
}

function Deletion({ endpoint, health, close, changed }) {
  async function remove() {
    await api.remove("webhook_endpoints", endpoint.id);
    notices.tell("The endpoint is deleted.");
    location.hash = "#/";
    changed();
  }
  const waiting = health?.queued ? `${words.plural(health.queued, "event")} that wait for it` : "What waits for it";
  return html`<${Question} title="Delete this endpoint?" yes="Delete it" isDanger act=${remove} close=${close}>
    <p><code>${endpoint.url}</code></p>
    <ul>
      <li>${waiting} will not be sent, and end as failed.</li>
      <li>Its signing secret is lost: an endpoint made anew has another.</li>
      <li>What happens from now on is not kept for it.</li>
    </ul>
    <p>Its history stays. To stop it for a while, turn it off instead.</p>
  <//>`;
}

function TurningOff({ endpoint, close, changed }) {
  async function turnOff() {
    await api.update("webhook_endpoints", endpoint.id, { is_active: false });
    close();
    changed();
  }
  return html`<${Question} title="Turn off this endpoint?" yes="Turn off" act=${turnOff} close=${close}>
    <p>Events that happen while it is turned off are not kept for it. What is queued already waits until it is turned on.</p>
  <//>`;
}

/** After an endpoint was turned on: what happened meanwhile can still be sent. */
function Missed({ endpoint, period, close }) {
  const [problem, setProblem] = useState(null);
  async function replay() {
    const count = await api.call("replay_webhooks", { endpoint_id: endpoint.id, ...period });
    notices.tell(`Replayed: ${count}.`);
    close();
  }
  return html`<section class="note" aria-label="Missed events">
    <p>It was turned off from ${words.at(period.since)} to ${words.at(period.until)}, so events of that time were not kept for it. Those that
      another endpoint received can still be replayed.</p>
    <p class="row"><${Action} class="small" act=${replay} onProblem=${setProblem}>Replay them<//>
      <button type="button" class="small secondary" onClick=${close}>No, thanks</button></p>
    <${ProblemNote} problem=${problem} />
  </section>`;
}

/** What the endpoint is, and the buttons that change it. */
function Overview({ endpoint, health, catalogue, changed, setSecret, edit, isFirst }) {
  const [asking, ask] = useState(null);
  const [problem, setProblem] = useState(null);
  const [usual, slow] = [health?.response_time_p50_ms, health?.response_time_p95_ms].map(words.milliseconds);
  const times = usual ? `${usual}, slowest twentieth ${slow}` : "\u2013";
  const replaced = (secret) => (ask(null), setSecret(secret), changed());
  const [missed, setMissed] = useState(null);
  async function turnOn() {
    const { updated_at } = await api.update("webhook_endpoints", endpoint.id, { is_active: true });
    notices.tell("It is turned on. Deliveries that waited are sent.");
    // The server keeps events for an endpoint that it has disabled itself.
    if (!endpoint.disabled_at) setMissed({ since: endpoint.updated_at, until: updated_at });
    changed();
  }
  return html`
    <dl class="facts">
      <div><dt>Events</dt><dd>${endpoint.events.map((event) => html`<code>${event}</code> `)}</dd></div>
      <div><dt>Delivered, 24 hours</dt><dd>${words.percent(health?.success_rate_24h)}</dd></div>
      <div><dt>Response time</dt><dd>${times}</dd></div>
      <div><dt>Waiting</dt><dd>${words.number(health?.queued ?? 0)}</dd></div>
      <div><dt>Secret</dt><dd><code>${endpoint.secret}</code></dd></div>
      <div><dt>Created</dt><dd><time datetime=${endpoint.created_at}>${words.at(endpoint.created_at)}</time>
        ${endpoint.created_by && html` by user <code>${endpoint.created_by}</code>`}</dd></div>
    </dl>
    <${ProblemNote} problem=${problem} />
    <p class="row">
      ${endpoint.is_active
        ? html`<button type="button" class="small secondary" onClick=${() => ask("off")}>Turn off</button>`
        : html`<${Action} class="small" act=${turnOn} onProblem=${setProblem}>Turn on<//>`}
      <button type="button" class="small outline" onClick=${edit}>Edit</button>
      <button type="button" class="small outline" onClick=${() => ask("secret")}>Replace the secret</button>
      <button type="button" class="small outline danger" onClick=${() => ask("delete")}>Delete</button>
    </p>
    ${missed && html`<${Missed} endpoint=${endpoint} period=${missed} close=${() => setMissed(null)} />`}
    ${asking === "off" && html`<${TurningOff} endpoint=${endpoint} changed=${changed} close=${() => ask(null)} />`}
    ${asking === "secret" && html`<${Rotation} endpoint=${endpoint} close=${() => ask(null)} done=${replaced} />`}
    ${asking === "delete" && html`<${Deletion} endpoint=${endpoint} health=${health} changed=${changed} close=${() => ask(null)} />`}
    <${Trial} endpoint=${endpoint} catalogue=${catalogue} isFirst=${isFirst} />
    <${Activity} endpoint_id=${endpoint.id} />`;
}

function EndpointPage({ endpoint, health, auctions, catalogue, endpoints, changed, tab, secret, setSecret, isFirst }) {
  const [isEditing, setEditing] = useState(false);
  const state = words.state(endpoint, health);
  if (isEditing) {
    const leave = () => setEditing(false);
    const saved = () => (leave(), notices.tell("Saved."), changed());
    return html`<h1>Edit the endpoint</h1>
      <${EndpointForm} endpoint=${endpoint} endpoints=${endpoints} auctions=${auctions} catalogue=${catalogue} saved=${saved} cancel=${leave} />`;
  }
  return html`
    <p><a href="#/">\u2190 Endpoints</a></p>
    <h1 class="url">${endpoint.url} <${Badge} name=${state.name}>${state.text}<//></h1>
    ${endpoint.description && html`<p>${endpoint.description}</p>`}
    ${state.detail && html`<p class="note ${state.name === "off" ? "" : "bad"}">${state.detail}
      ${state.name === "disabled" && html` Events since then are kept, and sent when you turn it on.`}
      ${["disabled", "failing"].includes(state.name) && html` <a href="#/endpoints/${endpoint.id}/trouble">Why?</a>`}</p>`}
    ${secret && html`<${SecretOnce} secret=${secret} done=${() => setSecret(null)} />`}
    <nav class="tabs" aria-label="Of this endpoint"><ul>${Object.entries(TABS).map(([name, text]) => html`<li>
      <a href="#/endpoints/${endpoint.id}/${name}" aria-current=${name === tab ? "page" : null}>${text}</a></li>`)}</ul></nav>
    ${tab === "history" ? html`<${History} endpoints=${endpoints} catalogue=${catalogue} endpoint_id=${endpoint.id} />`
      : tab === "trouble" ? html`<${Diagnosis} endpoint=${endpoint} /><${Recovery} endpoint=${endpoint} />`
      : tab === "verify" ? html`<${Verify} />`
      : html`<${Overview} endpoint=${endpoint} health=${health} catalogue=${catalogue} changed=${changed} setSecret=${setSecret}
          edit=${() => setEditing(true)} isFirst=${isFirst} />`}`;
}
