// The signed-in user, and the view that is shown.
"use strict";

function SignIn({ hasExpired }) {
  const [token, setToken] = useState("");
  const [apikey, setKey] = useState(session.get().apikey ?? "");
  const submit = (event) => {
    event.preventDefault();
    session.take(token.trim().replace(/^Bearer /i, ""), apikey.trim() || null);
  };
  if (session.isGuest) return html`<p aria-busy="true" role="status">Waiting for the application around this page to sign you in\u2026</p>`;
  return html`<form onSubmit=${submit} aria-label="Sign in">
    <h2>${hasExpired ? "Your session has ended" : "Sign in"}</h2>
    <p>${hasExpired ? "The server does not accept the token any more. Nothing that you have typed is lost: what was under way goes on with a new one."
      : "This page works with the token of an administrator of the auction. The application hands it over; or give it here."}</p>
    <label>Access token
      <input type="password" required autocomplete="off" value=${token} onInput=${(event) => setToken(event.target.value)} />
      <small>A JWT. It stays in this tab until you reload it.</small></label>
    <details><summary>API key of the gateway</summary>
      <label>API key <input autocomplete="off" value=${apikey} onInput=${(event) => setKey(event.target.value)} />
        <small>Supabase's gateway wants its anon key with each call.</small></label></details>
    <button type="submit">Sign in</button>
  </form>`;
}

/** Over the page that is left as it is, until there is another token. */
function Expired() {
  const dialog = useRef();
  useEffect(() => dialog.current.showModal(), []);
  const stay = (event) => event.preventDefault();
  // Browsers obey a second Escape all the same.
  const comeBack = () => dialog.current?.showModal();
  return html`<dialog ref=${dialog} onCancel=${stay} onClose=${comeBack} aria-label="Your session has ended"><article><${SignIn} hasExpired /></article></dialog>`;
}

function useHash() {
  const [hash, set] = useState(location.hash);
  useEffect(() => {
    const changed = () => set(location.hash);
    addEventListener("hashchange", changed);
    // It may have changed before this was heard.
    changed();
    return () => removeEventListener("hashchange", changed);
  }, []);
  return hash.replace(/^#\/?/, "").split("/");
}

/** What several views show, and does not change while somebody looks. */
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

function Views({ auctions, catalogue, endpoints, healths, changed }) {
  const [view, id, tab] = useHash();
  // Shown once, and gone as soon as another endpoint is looked at.
  const [secret, setSecret] = useState(null);
  const [created, setCreated] = useState(null);
  async function saved({ generated_secret, ...endpoint }) {
    setCreated(endpoint);
    setSecret(generated_secret ? { of: endpoint.id, text: generated_secret } : null);
    location.hash = `#/endpoints/${endpoint.id}`;
    changed();
  }
  if (!auctions.length && !endpoints.length)
    return html`<h1>Webhooks</h1>
      <p class="note">You administer no auction, so there are no webhooks for you to see. Ask an owner of the auction for the role.</p>`;
  const cancel = () => (location.hash = "#/");
  if (view === "new")
    return html`<h1>Add an endpoint</h1><${EndpointForm} auctions=${auctions} catalogue=${catalogue} saved=${saved} cancel=${cancel} />`;
  if (view === "history") return html`<h1>Delivery history</h1><${History} endpoints=${endpoints} catalogue=${catalogue} />`;
  if (view === "endpoints") {
    const endpoint = endpoints.find((known) => known.id === id) ?? (created?.id === id ? created : null);
    if (!endpoint) return html`<p class="note">There is no such endpoint. <a href="#/">All endpoints</a></p>`;
    return html`<${EndpointPage} key=${id} endpoint=${endpoint} health=${healths.get(id)} auctions=${auctions} catalogue=${catalogue}
      endpoints=${endpoints} changed=${changed} tab=${TABS[tab] ? tab : "overview"} isFirst=${created?.id === id}
      secret=${secret?.of === id ? secret.text : null} setSecret=${(text) => setSecret(text && { of: id, text })} />`;
  }
  return html`<${EndpointList} endpoints=${endpoints} healths=${healths} auctions=${auctions} />`;
}

function SignedIn() {
  const known = useLoad(loadKnown, []);
  const endpoints = useLoad(loadEndpoints, [], 3000);
  return html`<${Loaded} of=${known} what="the webhooks">${(known) => html`
    <${Loaded} of=${endpoints} what="the endpoints">${(found) => html`<${Views} ...${known} ...${found} changed=${endpoints.reload} />`}<//>`}<//>`;
}

function App() {
  const [{ token, hasExpired }, set] = useState(session.get());
  useEffect(() => {
    // What was handed over before anybody watched.
    set(session.get());
    return session.watch(set);
  }, []);
  const [view] = useHash();
  return html`
    <header class="container top">
      <nav aria-label="breadcrumb"><ul><li>Settings</li><li>Integrations</li><li><a href="#/"><strong>Webhooks</strong></a></li></ul></nav>
      ${token && html`<nav aria-label="Views"><ul>
        <li><a href="#/" aria-current=${["", "new", "endpoints"].includes(view) ? "page" : null}>Endpoints</a></li>
        <li><a href="#/history" aria-current=${view === "history" ? "page" : null}>Delivery history</a></li>
        <li><button type="button" class="link" onClick=${session.leave}>Sign out</button></li></ul></nav>`}
    </header>
    <main class="container">${token ? html`<${SignedIn} />` : html`<${SignIn} />`}</main>
    ${token && hasExpired && html`<${Expired} />`}
    <${notices.View} />`;
}

render(html`<${App} />`, document.getElementById("page"));
