// The list of endpoints.
"use strict";

/** With more endpoints than this, they can be searched. */
const MANY = 10;
const { active, retrying, failing, disabled, offOrPaused } = t.state;
const STATES = Object.entries({ "": t.history.all, active, retrying, failing, disabled, off: offOrPaused });

function EndpointRow({ endpoint, health, activity, auction }) {
  const state = format.state(endpoint, health);
  return html`<li>
    <a href="#/endpoints/${endpoint.id}" class="card">
      <span class="what"><strong class="url">${endpoint.description || endpoint.url}</strong>
        ${endpoint.description && html`<small class="url">${endpoint.url}</small>`}
        <small>${[auction, endpoint.events.join(", ")].filter(Boolean).join(" \u00b7 ")}</small>
        ${state.detail && html`<small class=${state.name === "off" ? "" : "error"}>${state.detail}</small>`}</span>
      <${Badge} name=${state.name}>${state.text}<//>
      <span class="rate">${activity && html`<${Bars} span=${activity.span} bars=${series(activity, endpoint.id)} />`}
        <small>${t.endpoints.delivered(format.percent(health?.success_rate_24h))}</small></span>
      <span class="queued"><strong>${format.number(health?.queued ?? 0)}</strong><small>${t.endpoints.waiting}</small></span>
    </a></li>`;
}

/** The request of an event, as a receiver gets it. */
function SampleRequest({ catalogue }) {
  const type = catalogue.find(({ is_builtin }) => is_builtin) ?? catalogue[0];
  if (!type) return null;
  const body = { event: type.event_type, timestamp: "2026-01-15T14:30:00.000Z", webhook_id: "019bc218-3f40-7a51-9c6e-0d8f5a7b1e24",
    auction_id: "00000000-0000-4000-8000-000000000001", data: type.example };
  return html`<pre tabindex="0">${`POST /webhooks\nContent-Type: application/json\nwebhook-id: ${body.webhook_id}\nwebhook-signature: v1,\u2026\n\n${JSON.stringify(body, null, 2)}`}</pre>`;
}

/** What leads to the first webhook. */
function FirstSteps({ catalogue }) {
  return html`<section class="note" aria-label=${t.endpoints.first}>
    <h2>${t.endpoints.none}</h2>
    <ol>
      <li><a href="#/new">${t.endpoints.firstAdd}</a></li>
      <li>${t.endpoints.firstReceive} <${SampleRequest} catalogue=${catalogue} /><a href="#/events">${t.endpoints.firstCatalogue}</a></li>
      <li>${t.endpoints.firstVerify} <details><summary>${t.endpoints.verificationCode}</summary><${Verify} /></details></li>
    </ol>
  </section>`;
}

function EndpointList({ endpoints, healths, auctions, catalogue }) {
  const activity = useLoad((signal) => loadActivity("day", signal), [], 10_000);
  const [search, setSearch] = useState("");
  const [name, setName] = useState("");
  const shown = endpoints.filter((endpoint) =>
    matches(search, endpoint.url, endpoint.description) && (!name || format.state(endpoint, healths.get(endpoint.id)).name === name));
  const names = new Map(auctions.length > 1 ? auctions.map((auction) => [auction.auction_id, auction.name ?? auction.auction_id]) : []);
  return html`
    <header class="row"><h1>${t.page.webhooks}</h1>
      <button type="button" class="small" onClick=${() => (location.hash = "#/new")}>${t.endpoints.add}</button></header>
    <p>${t.endpoints.about}</p>
    ${endpoints.length
      ? html`${endpoints.length > MANY && html`<form class="filters" aria-label=${t.common.filters} onSubmit=${(event) => event.preventDefault()}>
          <${Search} label=${t.endpoints.search} value=${search} change=${setSearch} />
          <${Choice} label=${t.endpoints.state} value=${name} choose=${setName} options=${STATES} /></form>`}
        ${!shown.length && html`<${NoMatch} text=${t.endpoints.noneMatch} clear=${() => (setSearch(""), setName(""))} />`}
        <ul class="endpoints" aria-label=${t.endpoints.list}>${shown.map((endpoint) => html`
          <${EndpointRow} key=${endpoint.id} endpoint=${endpoint} health=${healths.get(endpoint.id)} activity=${activity.data}
            auction=${names.get(endpoint.auction_id)} />`)}</ul>
        <${Activity} />`
      : html`<${FirstSteps} catalogue=${catalogue} />`}`;
}
