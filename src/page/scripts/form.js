// The form of an endpoint, and its checks before it is saved.
"use strict";

/** Says of a URL, as it is typed, what the database would say of it. */
function useUrlCheck(url) {
  const [check, set] = useState({ state: "empty" });
  useEffect(() => {
    if (!url) return set({ state: "empty" });
    const ended = new AbortController();
    set({ state: "checking" });
    const timer = setTimeout(async () => {
      try {
        set({ state: "good", normal: await api.call("check_webhook_url", { url }, ended.signal) });
      } catch (problem) {
        if (!ended.signal.aborted) set({ state: "bad", problem });
      }
    }, 250);
    return () => {
      clearTimeout(timer);
      ended.abort();
    };
  }, [url]);
  return check;
}

function UrlField({ value, change, others }) {
  const check = useUrlCheck(value);
  return html`<label>URL
    <input type="url" required placeholder="https://example.com/webhooks" value=${value} autocomplete="off" spellcheck=${false}
      aria-invalid=${check.state === "bad" ? "true" : check.state === "good" ? "false" : null} aria-describedby="url-check"
      onInput=${(event) => change(event.target.value.trim())} />
    <small id="url-check" role="status">${
      check.state === "checking" ? "Checking\u2026"
      : check.state === "bad" ? [check.problem.message, ". ", check.problem.hint]
      : check.state === "good" && others.includes(check.normal) ? "Another endpoint has this URL: it receives each event twice."
      : check.state === "good" ? (check.normal === value ? "Can be used." : ["Will be called as ", check.normal])
      : "Where the events are sent: an https address that the internet reaches."}</small>
  </label>`;
}

const headersAsText = (headers) => Object.entries(headers).map(([name, value]) => `${name}: ${value}`).join("\n");

function headersFromText(text) {
  const lines = text.split("\n").map((line) => line.trim()).filter(Boolean);
  return Object.fromEntries(lines.map((line) => {
    const colon = line.indexOf(":");
    if (colon < 1) throw new Problem(`${line} is no header.`, "Write one a line: Name: value");
    return [line.slice(0, colon).trim(), line.slice(colon + 1).trim()];
  }));
}

/** What the form starts from: an endpoint, or nothing. */
function draftOf(endpoint) {
  return {
    url: endpoint?.url ?? "", description: endpoint?.description ?? "", events: endpoint?.events ?? [], secret: "",
    headers: headersAsText(endpoint?.headers ?? {}), ordered: endpoint?.ordered ?? false,
    max_per_second: endpoint?.max_per_second ?? "", retry_schedule: endpoint?.retry_schedule?.join(", ") ?? "",
  };
}

/** The row of a draft. */
function rowOf(draft) {
  const schedule = draft.retry_schedule.split(",").map((wait) => wait.trim()).filter(Boolean);
  return {
    url: draft.url, events: draft.events, description: draft.description || null, headers: headersFromText(draft.headers), ordered: draft.ordered,
    max_per_second: draft.max_per_second === "" ? null : Number(draft.max_per_second), retry_schedule: schedule.length ? schedule : null,
  };
}

/** Of a new endpoint, or of one that is there. `saved` gets the row, of a new one with its generated_secret. */
function EndpointForm({ endpoint, endpoints, auctions, catalogue, saved, cancel }) {
  const [draft, set] = useState(() => draftOf(endpoint));
  const [auction_id, setAuction] = useState(auctions[0]?.auction_id);
  const [problem, setProblem] = useState(null);
  const change = (field) => (value) => set((before) => ({ ...before, [field]: value }));
  const typed = (field) => (event) => change(field)(event.target.type === "checkbox" ? event.target.checked : event.target.value);

  const isOther = (known) => known.id !== endpoint?.id && known.auction_id === (endpoint?.auction_id ?? auction_id);
  const others = endpoints.filter(isOther).map(({ url }) => url);

  async function save() {
    if (!draft.url) throw new Problem("There is no URL.", "Give the https address that receives the events.");
    if (!draft.events.length) throw new Problem("No event is selected.", "Select at least one.");
    const row = rowOf(draft);
    if (endpoint) return saved(await api.update("webhook_endpoints", endpoint.id, row));
    const secret = draft.secret ? { secret: draft.secret } : {};
    saved(await api.insert("webhook_endpoints", { auction_id, ...row, ...secret }, { select: "*,generated_secret" }));
  }

  return html`<form onSubmit=${(event) => event.preventDefault()} novalidate>
    ${!endpoint && auctions.length > 1 && html`<${Choice} label="Auction" value=${auction_id} choose=${setAuction}
      options=${auctions.map(({ auction_id, name }) => [auction_id, name ?? auction_id])} />`}
    <${UrlField} value=${draft.url} change=${change("url")} others=${others} />
    <label>Description <input value=${draft.description} maxlength="1000" placeholder="for yourself" onInput=${typed("description")} /></label>
    <${EventTree} catalogue=${catalogue} events=${draft.events} change=${change("events")} />
    <details><summary>More: ${endpoint ? "" : "secret, "}headers, order, rate, retries</summary>
      ${!endpoint && html`<label>Signing secret
        <input type="password" autocomplete="new-password" value=${draft.secret} onInput=${typed("secret")} placeholder="generated" />
        <small>Left empty, one is generated and shown once. Your own: 16 to 256 characters.</small></label>`}
      <label>Headers of your own, one a line
        <textarea rows="2" value=${draft.headers} onInput=${typed("headers")} placeholder="Authorization: Bearer \u2026"
          spellcheck=${false}></textarea></label>
      <label><input type="checkbox" role="switch" checked=${draft.ordered} onChange=${typed("ordered")} /> Strictly in order
        <small>one at a time; a failure holds up all behind it</small></label>
      <div class="grid">
        <label>Requests a second at most
          <input type="number" min="0.01" max="10000" step="any" placeholder="no limit" value=${draft.max_per_second} onInput=${typed("max_per_second")} /></label>
        <label>Waits after failed attempts
          <input placeholder="1 minute, 5 minutes, 30 minutes" value=${draft.retry_schedule} onInput=${typed("retry_schedule")} /></label>
      </div>
    </details>
    <${ProblemNote} problem=${problem} />
    <div class="row end">
      <button type="button" class="secondary" onClick=${cancel}>Cancel</button>
      <${Action} type="submit" act=${save} onProblem=${setProblem}>${endpoint ? "Save" : "Create endpoint"}<//>
    </div>
  </form>`;
}
