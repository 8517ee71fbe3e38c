// The signed-in user, and the view that is shown.
"use strict";

/** The role in a token's claims; null if it is no JWT. */
function roleOf(token) {
  try {
    return JSON.parse(atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/"))).role ?? null;
  } catch {
    return null;
  }
}

/** What the form says above its fields, and why a token is asked for. */
function reasonOf(hasExpired) {
  if (!hasExpired) return ["Sign in", "This page works with the token of an administrator of the auction. The application hands it over, or you give it here."];
  if (!session.get().wasAccepted)
    return ["This token was not accepted", "The server refused it: it may have expired, belong to another project, or be incomplete. Give another one, or sign out."];
  return ["Your session has ended", "The server no longer accepts the token. Nothing that you have typed is lost: the page continues with a new token."];
}

function SignIn({ hasExpired }) {
  const [token, setToken] = useState("");
  const [apikey, setKey] = useState(session.get().apikey ?? "");
  const [isAnonymous, setAnonymous] = useState(false);
  const [title, reason] = reasonOf(hasExpired);
  const submit = (event) => {
    event.preventDefault();
    const given = token.trim().replace(/^Bearer /i, "");
    setAnonymous(roleOf(given) === "anon");
    if (roleOf(given) !== "anon") session.take(given, apikey.trim() || null);
  };
  if (session.isGuest) return html`<p aria-busy="true" role="status">Waiting for the application around this page to sign you in\u2026</p>`;
  return html`<form onSubmit=${submit} aria-label="Sign in">
    <h2>${title}</h2>
    <p>${reason}</p>
    ${isAnonymous && html`<p class="note bad" role="alert"><strong>This is the anonymous key.</strong> It names no user. Give the access token of a
      signed-in administrator; the anonymous key belongs in the field below.</p>`}
    <label>Access token
      <input type="password" required autocomplete="off" value=${token} onInput=${(event) => setToken(event.target.value)} />
      <small>A JWT. It stays in this tab until you reload it.</small></label>
    <details><summary>API key of the gateway</summary>
      <label>API key <input autocomplete="off" value=${apikey} onInput=${(event) => setKey(event.target.value)} />
        <small>Supabase's gateway wants its anon key with each call.</small></label></details>
    <div class="row"><button type="submit">Sign in</button>
      ${hasExpired && html`<button type="button" class="secondary" onClick=${session.leave}>Sign out</button>`}</div>
  </form>`;
}

/** Over the page that is left as it is, until there is another token. */
function Expired() {
  const dialog = useRef();
  useEffect(() => dialog.current.showModal(), []);
  const stay = (event) => event.preventDefault();
  // Browsers obey a second Escape all the same.
  const comeBack = () => dialog.current?.showModal();
  return html`<dialog ref=${dialog} onCancel=${stay} onClose=${comeBack} aria-label=${reasonOf(true)[0]}><article><${SignIn} hasExpired /></article></dialog>`;
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
  return hash.replace(/^#\/?/, "").split("?")[0].split("/");
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
  // Shown once, and forgotten as soon as another view is shown.
  const [secret, setSecret] = useState(null);
  useEffect(() => {
    if (secret && !(view === "endpoints" && secret.of === id)) setSecret(null);
  }, [view, id]);
  const [created, setCreated] = useState(null);
  async function saved({ generated_secret, ...endpoint }) {
    setCreated(endpoint);
    setSecret(generated_secret ? { of: endpoint.id, text: generated_secret } : null);
    location.hash = `#/endpoints/${endpoint.id}`;
    changed();
  }
  const cancel = () => (location.hash = "#/");
  const shown = endpoints.find((known) => known.id === id);
  const title = view === "new" ? "Add an endpoint" : view === "history" ? "Delivery history" : shown ? shown.description || shown.url : "Endpoints";
  useEffect(() => {
    document.title = `${title} \u2013 Webhooks`;
  }, [title]);
  if (!auctions.length && !endpoints.length)
    return html`<h1>Webhooks</h1>
      <p class="note">You administer no auction, so there are no webhooks for you to see. Ask an owner of the auction for the role.</p>`;
  if (view === "new")
    return html`<h1>Add an endpoint</h1><${EndpointForm} endpoints=${endpoints} auctions=${auctions} catalogue=${catalogue} saved=${saved} cancel=${cancel} />`;
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

/** Tells the page around this one how high it is. */
function reportHeight() {
  if (!session.isFramed) return;
  const observer = new ResizeObserver(() => window.parent.postMessage({ webhook_admin: "height", height: document.documentElement.offsetHeight }, "*"));
  observer.observe(document.documentElement);
  return () => observer.disconnect();
}

function App() {
  const [{ token, hasExpired }, set] = useState(session.get());
  useEffect(() => {
    // What was handed over before anybody watched.
    set(session.get());
    return session.watch(set);
  }, []);
  useEffect(reportHeight, []);
  const [view] = useHash();
  return html`
    <header class="container top">
      ${!session.isFramed && html`<nav aria-label="breadcrumb"><ul><li>Settings</li><li>Integrations</li>
        <li><a href="#/"><strong>Webhooks</strong></a></li></ul></nav>`}
      ${token && html`<nav aria-label="Views"><ul>
        <li><a href="#/" aria-current=${["", "new", "endpoints"].includes(view) ? "page" : null}>Endpoints</a></li>
        <li><a href="#/history" aria-current=${view === "history" ? "page" : null}>Delivery history</a></li>
        ${!session.isFramed && html`<li><button type="button" class="link" onClick=${session.leave}>Sign out</button></li>`}</ul></nav>`}
    </header>
    <main class="container">${token ? html`<${SignedIn} />` : html`<${SignIn} />`}</main>
    ${token && hasExpired && html`<${Expired} />`}
    <${notices.View} />`;
}

render(html`<${App} />`, document.getElementById("page"));
