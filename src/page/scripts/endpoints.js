// The list of endpoints.
"use strict";

function EndpointRow({ endpoint, health, activity, auction }) {
  const state = words.state(endpoint, health);
  return html`<li>
    <a href="#/endpoints/${endpoint.id}" class="card">
      <span class="what"><strong class="url">${endpoint.url}</strong>
        <small>${[auction, endpoint.description, endpoint.events.join(", ")].filter(Boolean).join(" \u00b7 ")}</small>
        ${state.detail && html`<small class=${state.name === "off" ? "" : "error"}>${state.detail}</small>`}</span>
      <${Badge} name=${state.name}>${state.text}<//>
      <span class="rate">${activity && html`<${Bars} activity=${activity} endpoint_id=${endpoint.id} />`}
        <small>${words.percent(health?.success_rate_24h)} of 24 hours</small></span>
      <span class="queued"><strong>${words.number(health?.queued ?? 0)}</strong><small>waiting</small></span>
    </a></li>`;
}

function EndpointList({ endpoints, healths, auctions }) {
  const activity = useLoad((signal) => loadActivity("day", signal), [], 10_000);
  const names = new Map(auctions.length > 1 ? auctions.map((auction) => [auction.auction_id, auction.name ?? auction.auction_id]) : []);
  return html`
    <header class="row"><h1>Webhooks</h1><button type="button" class="small" onClick=${() => (location.hash = "#/new")}>Add endpoint</button></header>
    <p>When something happens in your auction, it is sent to these addresses, signed.</p>
    ${endpoints.length
      ? html`<ul class="endpoints" aria-label="Endpoints">${endpoints.map((endpoint) => html`
          <${EndpointRow} key=${endpoint.id} endpoint=${endpoint} health=${healths.get(endpoint.id)} activity=${activity.data}
            auction=${names.get(endpoint.auction_id)} />`)}</ul>
        <${Activity} />`
      : html`<p class="note">There is none yet. <a href="#/new">Add the first one.</a></p>`}`;
}
