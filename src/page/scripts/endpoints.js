// The list of endpoints.
"use strict";

/** With more endpoints than this, they can be searched. */
const MANY = 10;
const STATES = [["", "all"], ["active", "Active"], ["retrying", "Retrying"], ["failing", "Failing"], ["disabled", "Disabled after failures"], ["off", "Turned off or paused"]];

function EndpointRow({ endpoint, health, activity, auction }) {
  const state = words.state(endpoint, health);
  return html`<li>
    <a href="#/endpoints/${endpoint.id}" class="card">
      <span class="what"><strong class="url">${endpoint.description || endpoint.url}</strong>
        ${endpoint.description && html`<small class="url">${endpoint.url}</small>`}
        <small>${[auction, endpoint.events.join(", ")].filter(Boolean).join(" \u00b7 ")}</small>
        ${state.detail && html`<small class=${state.name === "off" ? "" : "error"}>${state.detail}</small>`}</span>
      <${Badge} name=${state.name}>${state.text}<//>
      <span class="rate">${activity && html`<${Bars} activity=${activity} endpoint_id=${endpoint.id} />`}
        <small>${words.percent(health?.success_rate_24h)} delivered, 24 h</small></span>
      <span class="queued"><strong>${words.number(health?.queued ?? 0)}</strong><small>waiting</small></span>
    </a></li>`;
}

function EndpointList({ endpoints, healths, auctions }) {
  const activity = useLoad((signal) => loadActivity("day", signal), [], 10_000);
  const [search, setSearch] = useState("");
  const [name, setName] = useState("");
  const has = (text) => text?.toLowerCase().includes(search.trim().toLowerCase());
  const shown = endpoints.filter((endpoint) =>
    (has(endpoint.url) || has(endpoint.description)) && (!name || words.state(endpoint, healths.get(endpoint.id)).name === name));
  const names = new Map(auctions.length > 1 ? auctions.map((auction) => [auction.auction_id, auction.name ?? auction.auction_id]) : []);
  return html`
    <header class="row"><h1>Webhooks</h1><button type="button" class="small" onClick=${() => (location.hash = "#/new")}>Add endpoint</button></header>
    <p>When something happens in your auction, it is sent to these addresses, signed.</p>
    ${endpoints.length
      ? html`${endpoints.length > MANY && html`<form class="filters" aria-label="Filters" onSubmit=${(event) => event.preventDefault()}>
          <label>Search <input type="search" value=${search} onInput=${(event) => setSearch(event.target.value)} /></label>
          <${Choice} label="State" value=${name} choose=${setName} options=${STATES} /></form>`}
        ${!shown.length && html`<p class="row">No endpoints match. <button type="button" class="small outline"
          onClick=${() => (setSearch(""), setName(""))}>Clear filters</button></p>`}
        <ul class="endpoints" aria-label="Endpoints">${shown.map((endpoint) => html`
          <${EndpointRow} key=${endpoint.id} endpoint=${endpoint} health=${healths.get(endpoint.id)} activity=${activity.data}
            auction=${names.get(endpoint.auction_id)} />`)}</ul>
        <${Activity} />`
      : html`<p class="note">There is none yet. <a href="#/new">Add the first one.</a></p>`}`;
}
