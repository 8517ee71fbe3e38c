// The view that is shown.
"use strict";

/** The parts of the address after the `#`: [view, id, tab]. Asks first if something typed would be lost. */
function usePlace() {
  const [hash, set] = useState(location.hash);
  const shown = useRef(location.hash);
  useEffect(() => {
    const changed = () => {
      const wanted = location.hash;
      if (unsaved.ask) {
        history.replaceState(null, "", shown.current);
        return unsaved.ask(() => (location.hash = wanted));
      }
      shown.current = wanted;
      set(wanted);
    };
    addEventListener("hashchange", changed);
    // It may have changed before there was a listener.
    changed();
    return () => removeEventListener("hashchange", changed);
  }, []);
  return hash.replace(/^#\/?/, "").split("?")[0].split("/");
}

/** What several views show, and what does not change while the page is open. */
async function loadKnown(signal) {
  const [auctions, catalogue] = await Promise.all([
    api.call("webhook_auctions", {}, signal),
    api.rows("webhook_event_types", { order: "family,event_type" }, signal),
  ]);
  return { auctions, catalogue };
}

async function loadEndpoints(signal) {
  const [endpoints, healths] = await Promise.all([
    api.rows("webhook_endpoints", { order: "created_at,id" }, signal),
    api.rows("webhook_endpoint_health", {}, signal),
  ]);
  return { endpoints, healths: new Map(healths.map((health) => [health.endpoint_id, health])) };
}

function titleOf(view, endpoint) {
  const titles = { new: t.endpoint.addTitle, history: t.history.title, events: t.catalogue.events };
  return titles[view] ?? (endpoint ? endpoint.description || endpoint.url : t.endpoints.list);
}

function Views({ place: [view, id, tab], auctions, catalogue, endpoints, healths, changed }) {
  // Shown once, and forgotten as soon as another view is shown.
  const [secret, setSecret] = useState(null);
  useEffect(() => {
    if (secret && !(view === "endpoints" && secret.of === id)) setSecret(null);
  }, [view, id]);
  const [created, setCreated] = useState(null);
  function saved({ generated_secret, ...endpoint }) {
    setCreated(endpoint);
    setSecret(generated_secret ? { of: endpoint.id, text: generated_secret } : null);
    location.hash = `#/endpoints/${endpoint.id}`;
    changed();
  }
  const cancel = () => (location.hash = "#/");
  const title = titleOf(view, endpoints.find((known) => known.id === id));
  useEffect(() => {
    document.title = t.page.title(title, BRAND);
  }, [title]);
  if (!auctions.length && !endpoints.length) return html`<h1>${t.page.webhooks}</h1><p class="note">${t.page.noAuction}</p>`;
  if (view === "new")
    return html`<h1>${title}</h1><${EndpointForm} endpoints=${endpoints} auctions=${auctions} catalogue=${catalogue} saved=${saved} cancel=${cancel} />`;
  if (view === "history") return html`<h1>${title}</h1><${History} endpoints=${endpoints} catalogue=${catalogue} />`;
  if (view === "events") return html`<h1>${title}</h1><${Catalogue} catalogue=${catalogue} />`;
  if (view === "endpoints") {
    const endpoint = endpoints.find((known) => known.id === id) ?? (created?.id === id ? created : null);
    if (!endpoint) return html`<p class="note">${t.endpoint.unknown} <a href="#/">${t.endpoint.allEndpoints}</a></p>`;
    return html`<${EndpointPage} key=${id} endpoint=${endpoint} health=${healths.get(id)} auctions=${auctions} catalogue=${catalogue}
      endpoints=${endpoints} changed=${changed} tab=${TABS.includes(tab) ? tab : "overview"} isFirst=${created?.id === id}
      secret=${secret?.of === id ? secret.text : null} setSecret=${(text) => setSecret(text && { of: id, text })} />`;
  }
  return html`<${EndpointList} endpoints=${endpoints} healths=${healths} auctions=${auctions} catalogue=${catalogue} />`;
}

function SignedIn({ place }) {
  const known = useLoad(loadKnown, []);
  const endpoints = useLoad(loadEndpoints, [], 3000);
  return html`<${Loaded} of=${known} what=${t.page.loading}>${(known) => html`
    <${Loaded} of=${endpoints} what=${t.endpoints.loading}>${(found) => html`
      <${Views} place=${place} ...${known} ...${found} changed=${endpoints.reload} />`}<//>`}<//>`;
}

/** Reports the page's height to the page around it. */
function reportHeight() {
  if (!session.isFramed) return;
  const observer = new ResizeObserver(() => window.parent.postMessage({ webhook_admin: "height", height: document.documentElement.offsetHeight }, "*"));
  observer.observe(document.documentElement);
  return () => observer.disconnect();
}

function Header({ view, isSignedIn }) {
  const views = [["#/", t.endpoints.list, ["", "new", "endpoints"]], ["#/history", t.history.title, ["history"]], ["#/events", t.catalogue.events, ["events"]]];
  return html`<header class="container top">
    ${!session.isFramed && html`<a href="#/" class="brand">${LOGO && html`<img src=${LOGO} alt="" />`}<strong>${BRAND}</strong></a>`}
    ${isSignedIn && html`<nav aria-label=${t.page.views}><ul>
      ${views.map(([address, text, names]) => html`<li><a href=${address} aria-current=${names.includes(view) ? "page" : null}>${text}</a></li>`)}
      ${!session.isFramed && html`<li><button type="button" class="link" onClick=${() => (unsaved.ask ? unsaved.ask(session.signOut) : session.signOut())}>${t.signIn.signOut}</button></li>`}</ul></nav>`}
  </header>`;
}

function App() {
  const [{ token, hasExpired }, set] = useState(session.get());
  useEffect(() => {
    // The token may have come before there was a watcher.
    set(session.get());
    return session.watch(set);
  }, []);
  useEffect(reportHeight, []);
  const place = usePlace();
  return html`
    <${Header} view=${place[0]} isSignedIn=${Boolean(token)} />
    <main class="container">${token ? html`<${SignedIn} place=${place} />` : html`<${SignIn} />`}</main>
    ${token && hasExpired && html`<${Expired} />`}
    <${notices.View} />`;
}

render(html`<${App} />`, document.getElementById("page"));
