// One endpoint: what it does, and the buttons that change it.
"use strict";

const TABS = ["overview", "history", "trouble", "verify"];

function Rotation({ endpoint, done, close }) {
  const [keep, setKeep] = useState("24 hours");
  const rotate = async () => done(await api.call("rotate_webhook_secret", { endpoint_id: endpoint.id, keep_old_for: keep }));
  return html`<${Question} title=${t.secret.replaceTitle} yes=${t.secret.replace} act=${rotate} close=${close}>
    <p>${t.secret.replaceAbout(html`<code>webhook-signature</code>`, html`<code>X-Webhook-Signature</code>`)}</p>
    <${Choice} label=${t.secret.keepOld} value=${keep} choose=${setKeep} options=${Object.entries(t.secret.keep)} />
  <//>`;
}

function Deletion({ endpoint, health, close, changed }) {
  async function remove() {
    await api.remove("webhook_endpoints", endpoint.id);
    notices.show(t.deletion.done);
    location.hash = "#/";
    changed();
  }
  return html`<${Question} title=${t.deletion.title} yes=${t.deletion.yes} isDanger act=${remove} close=${close}>
    <p><code>${endpoint.url}</code></p>
    <ul>
      <li>${t.deletion.waiting(health?.queued)}</li>
      <li>${t.deletion.secretLost}</li>
      <li>${t.deletion.notKept}</li>
    </ul>
    <p>${t.deletion.historyStays}</p>
  <//>`;
}

function TurningOff({ endpoint, close, changed }) {
  async function turnOff() {
    await api.update("webhook_endpoints", endpoint.id, { is_active: false });
    close();
    changed();
  }
  return html`<${Question} title=${t.turningOff.title} yes=${t.endpoint.turnOff} act=${turnOff} close=${close}><p>${t.turningOff.about}</p><//>`;
}

/** After an endpoint was turned on: events that it has missed can still be sent. */
function Missed({ endpoint, period, close }) {
  const [problem, setProblem] = useState(null);
  // The last change before: turning it off, unless it was changed again since then.
  const [since, setSince] = useState(format.local(period.since));
  async function replay() {
    const from = !since || since === format.local(period.since) ? period.since : new Date(since).toISOString();
    const number = await api.call("replay_webhooks", { endpoint_id: endpoint.id, since: from, until: period.until });
    notices.show(t.turningOff.replayed(number));
    close();
  }
  return html`<section class="note" aria-label=${t.turningOff.missed}>
    <p>${t.turningOff.period(format.at(period.until))}</p>
    <p class="row"><${TimeField} label=${t.turningOff.since} value=${since} choose=${setSince} />
      <${Action} class="small" act=${replay} onProblem=${setProblem}>${t.turningOff.replay}<//>
      <button type="button" class="small secondary" onClick=${close}>${t.turningOff.no}</button></p>
    <${ProblemNote} problem=${problem} />
  </section>`;
}

function Facts({ endpoint, health }) {
  const [median, slow] = [health?.response_time_p50_ms, health?.response_time_p95_ms].map(format.milliseconds);
  const facts = [
    [t.endpoint.events, endpoint.events.map((event) => html`<code>${event}</code> `)],
    ...(endpoint.filter ? [[t.filter.label, html`<code>${endpoint.filter}</code>`]] : []),
    [t.endpoint.delivered, format.percent(health?.success_rate_24h)],
    [t.endpoint.responseTime, median ? t.endpoint.percentiles(median, slow) : t.common.none],
    [t.endpoint.waiting, format.number(health?.queued ?? 0)],
    [t.endpoint.secret, html`<code>${endpoint.secret}</code>`],
    ...(endpoint.public_key ? [[t.endpoint.publicKey, html`<code>${endpoint.public_key}</code> <${Copy} text=${endpoint.public_key} what=${t.endpoint.theKey} />`]] : []),
    [t.endpoint.created, html`<${Ago} time=${endpoint.created_at} /> ${endpoint.created_by && t.endpoint.byUser(html`<code>${endpoint.created_by}</code>`)}`],
  ];
  return html`<dl class="facts">${facts.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

/** What the endpoint is, and the buttons that change it. */
function Overview({ endpoint, health, catalogue, changed, setSecret, edit, isFirst }) {
  const [asking, ask] = useState(null);
  const [problem, setProblem] = useState(null);
  const [missed, setMissed] = useState(null);
  const replaced = (secret) => (ask(null), setSecret(secret), changed());
  async function turnOn() {
    const { updated_at } = await api.update("webhook_endpoints", endpoint.id, { is_active: true });
    notices.show(t.endpoint.turnedOn);
    // The server keeps events for an endpoint that it has disabled itself.
    if (!endpoint.disabled_at) setMissed({ since: endpoint.updated_at, until: updated_at });
    changed();
  }
  const close = () => ask(null);
  return html`
    <${Facts} endpoint=${endpoint} health=${health} />
    <${ProblemNote} problem=${problem} />
    <p class="row">
      ${endpoint.is_active
        ? html`<button type="button" class="small secondary" onClick=${() => ask("off")}>${t.endpoint.turnOff}</button>`
        : html`<${Action} class="small" act=${turnOn} onProblem=${setProblem}>${t.endpoint.turnOn}<//>`}
      <button type="button" class="small outline" onClick=${edit}>${t.endpoint.edit}</button>
      <button type="button" class="small outline" onClick=${() => ask("secret")}>${t.endpoint.replaceSecret}</button>
      <button type="button" class="small outline danger" onClick=${() => ask("delete")}>${t.endpoint.delete}</button>
    </p>
    ${missed && html`<${Missed} endpoint=${endpoint} period=${missed} close=${() => setMissed(null)} />`}
    ${asking === "off" && html`<${TurningOff} endpoint=${endpoint} changed=${changed} close=${close} />`}
    ${asking === "secret" && html`<${Rotation} endpoint=${endpoint} close=${close} done=${replaced} />`}
    ${asking === "delete" && html`<${Deletion} endpoint=${endpoint} health=${health} changed=${changed} close=${close} />`}
    <${SendTest} endpoint=${endpoint} catalogue=${catalogue} isFirst=${isFirst} />
    <${Activity} endpoint_id=${endpoint.id} />
    <${Breakdown} endpoint_id=${endpoint.id} />`;
}

function EndpointPage({ endpoint: loaded, health, auctions, catalogue, endpoints, changed, tab, secret, setSecret, isFirst }) {
  const [isEditing, setEditing] = useState(false);
  // What was just saved, until it is loaded again.
  const [written, setWritten] = useState(null);
  const endpoint = written && Date.parse(written.updated_at) >= Date.parse(loaded.updated_at) ? written : loaded;
  useEffect(() => setEditing(false), [tab]);
  const state = format.state(endpoint, health);
  if (isEditing) {
    const leave = () => setEditing(false);
    const saved = (row) => (setWritten(row), leave(), notices.show(t.endpoint.saved), changed());
    return html`<h1>${t.endpoint.editTitle}</h1>
      <${EndpointForm} endpoint=${endpoint} endpoints=${endpoints} auctions=${auctions} catalogue=${catalogue} saved=${saved} cancel=${leave} />`;
  }
  return html`
    <p><a href="#/">${t.endpoint.all}</a></p>
    <h1 class="url">${endpoint.url} <${Badge} name=${state.name}>${state.text}<//></h1>
    ${endpoint.description && html`<p>${endpoint.description}</p>`}
    ${state.detail && html`<p class="note ${state.name === "off" ? "" : "bad"}">${state.detail}
      ${state.name === "disabled" && ` ${t.endpoint.keptSince}`}
      ${["disabled", "failing"].includes(state.name) && html` <a href="#/endpoints/${endpoint.id}/trouble">${t.endpoint.why}</a>`}</p>`}
    ${secret && html`<${SecretOnce} secret=${secret} done=${() => setSecret(null)} />`}
    <nav class="tabs" aria-label=${t.endpoint.tabs}><ul>${TABS.map((name) => html`<li>
      <a href="#/endpoints/${endpoint.id}/${name}" aria-current=${name === tab ? "page" : null}>${t.endpoint[name]}</a></li>`)}</ul></nav>
    ${tab === "history" ? html`<${History} endpoints=${endpoints} catalogue=${catalogue} endpoint_id=${endpoint.id} />`
      : tab === "trouble" ? html`<${Diagnosis} endpoint=${endpoint} />`
      : tab === "verify" ? html`<${Verify} />`
      : html`<${Overview} endpoint=${endpoint} health=${health} catalogue=${catalogue} changed=${changed} setSecret=${setSecret}
          edit=${() => setEditing(true)} isFirst=${isFirst} />`}`;
}
