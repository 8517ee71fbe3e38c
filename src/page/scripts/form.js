// The form of an endpoint, and its checks before it is saved.
"use strict";

/** What is typed and not saved: `ask` is called with what to do once the user has agreed to discard it. */
const unsaved = { ask: null };
addEventListener("beforeunload", (event) => unsaved.ask && event.preventDefault());

/** What the database says about a URL: { state, normal, problem }. */
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

/** A URL is judged once the user has left the field, and from then on while it is typed. */
function UrlField({ value, change, others, problem }) {
  const check = useUrlCheck(value);
  const [isLeft, setLeft] = useState(false);
  const wrong = problem ?? (isLeft && check.state === "bad" ? check.problem : null);
  const said = {
    checking: t.form.checking,
    good: others.includes(check.normal) ? t.form.duplicate : check.normal === value ? t.form.usable : t.form.normalized(check.normal),
  };
  return html`<${Field} label=${t.form.url} problem=${wrong} help=${html`<span role="status">${said[check.state] ?? t.form.urlHelp}</span>`}
    control=${(attributes) => html`<input type="url" name="url" required placeholder="https://example.com/webhooks" value=${value} autocomplete="off"
      spellcheck=${false} ...${attributes} onBlur=${() => value && setLeft(true)} onInput=${(event) => change(event.target.value.trim())} />`} />`;
}

function SecretField({ value, change, problem }) {
  const [isShown, show] = useState(false);
  return html`<${Field} label=${t.secret.label} help=${t.form.secretHelp} problem=${problem}
    control=${(attributes) => html`<span class="with-button"><input type=${isShown ? "text" : "password"} autocomplete="new-password" spellcheck=${false}
      value=${value} placeholder=${t.form.secretHint} ...${attributes} onInput=${(event) => change(event.target.value)} />
      <button type="button" class="small outline" aria-pressed=${String(isShown)} onClick=${() => show(!isShown)}>${isShown ? t.form.hide : t.form.show}</button></span>`} />`;
}

/** Retry schedules that a user need not write: null is that of the server. */
const PRESETS = {
  server: null,
  quick: ["00:00:10", "00:01:00", "00:10:00", "00:50:00"],
  patient: ["00:01:00", "00:10:00", "01:00:00", "06:00:00", "1 day", "2 days", "4 days"],
  none: [],
};

const presetOf = (schedule) => Object.keys(PRESETS).find((name) => JSON.stringify(PRESETS[name]) === JSON.stringify(schedule ?? null)) ?? "custom";

function RetryFields({ draft, change, problem }) {
  return html`
    <${Choice} label=${t.form.retries} value=${draft.preset} choose=${change("preset")} options=${Object.entries(t.form.presets)} />
    ${draft.preset === "custom" && html`<${Field} label=${t.form.waits} help=${t.form.waitsHelp} problem=${problem}
      control=${(attributes) => html`<input placeholder="1 minute, 5 minutes, 30 minutes" value=${draft.retry_schedule} ...${attributes}
        onInput=${(event) => change("retry_schedule")(event.target.value)} />`} />`}`;
}

/** The filter, and what it does with the latest events of the auction and the catalogue's examples. */
function FilterField({ value, change, problem, auction_id, events }) {
  const [tried, setTried] = useState(null);
  const [failed, setFailed] = useState(null);
  const attempt = async () => setTried(await api.call("preview_webhook_filter", { auction_id, filter: value, events: events.length ? events : undefined }));
  return html`<${Field} label=${t.filter.label} help=${t.filter.help} problem=${problem ?? failed}
      control=${(attributes) => html`<span class="with-button"><input value=${value} placeholder="$.total_car_count > 50" spellcheck=${false} autocomplete="off"
        ...${attributes} onInput=${(event) => (change(event.target.value), setTried(null), setFailed(null))} />
        <${Action} class="small outline" act=${attempt} onProblem=${setFailed} disabled=${!value}>${t.filter.attempt}<//></span>`} />
    ${tried && html`<ul class="tried" aria-label=${t.filter.tried}>${tried.map((event) => html`<li>
      <${Badge} name=${event.matches === false ? "off" : "success"}>${event.matches === false ? t.filter.rejected : t.filter.sent}<//>
      ${event.matches === null && t.filter.unknown} <code>${event.event_type}</code> ${event.occurred_at && html`<${Ago} time=${event.occurred_at} />`}
      <${Json} title=${event.occurred_at ? t.filter.data : t.common.example} value=${event.data} /></li>`)}</ul>`}`;
}

const headersAsText = (headers) => Object.entries(headers).map(([name, value]) => `${name}: ${value}`).join("\n");

function headersFromText(text) {
  const lines = text.split("\n").map((line) => line.trim()).filter(Boolean);
  return Object.fromEntries(lines.map((line) => {
    const colon = line.indexOf(":");
    if (colon < 1) throw new Problem(t.form.notAHeader(line), null, { field: "headers" });
    return [line.slice(0, colon).trim(), line.slice(colon + 1).trim()];
  }));
}

/** What the form starts with: an endpoint, or nothing. */
function draftOf(endpoint) {
  return {
    url: endpoint?.url ?? "", description: endpoint?.description ?? "", events: endpoint?.events ?? [], filter: endpoint?.filter ?? "", secret: "", signature: endpoint?.signature ?? "hmac",
    headers: headersAsText(endpoint?.headers ?? {}), ordered: endpoint?.ordered ?? false, max_per_second: endpoint?.max_per_second ?? "",
    preset: presetOf(endpoint?.retry_schedule), retry_schedule: endpoint?.retry_schedule?.join(", ") ?? "",
  };
}

/** The row of a draft. Raises a Problem with the field that is wrong. */
function rowOf(draft) {
  const rate = draft.max_per_second === "" ? null : Number(draft.max_per_second);
  if (!draft.url) throw new Problem(t.form.noUrl, null, { field: "url" });
  if (!draft.events.length) throw new Problem(t.form.noEvents, null, { field: "events" });
  if (rate !== null && !(rate >= 0.01 && rate <= 10_000)) throw new Problem(t.form.rateRange, null, { field: "max_per_second" });
  const waits = draft.retry_schedule.split(",").map((wait) => wait.trim()).filter(Boolean);
  if (draft.preset === "custom" && !waits.length) throw new Problem(t.form.waitsHelp, null, { field: "retry_schedule" });
  return {
    url: draft.url, events: draft.events, filter: draft.filter || null, signature: draft.signature, description: draft.description || null, headers: headersFromText(draft.headers), ordered: draft.ordered,
    max_per_second: rate, retry_schedule: draft.preset === "custom" ? waits : PRESETS[draft.preset],
  };
}

/** The fields that an error of the server can be about, by what its message says before it quotes what was typed. */
const FIELDS = { headers: /^[^:"]*\bheaders?\b/, secret: /^secret\b/, description: /^description\b/, retry_schedule: /\bretry_schedule\b|type interval/, events: /^events\b|^unknown event type/ };

function fieldOf({ message, field }) {
  return field ?? Object.keys(FIELDS).find((name) => FIELDS[name].test(message)) ?? null;
}

/** The form of a new endpoint, or of an existing one. `saved` gets the row, that of a new one with its generated_secret. */
function EndpointForm({ endpoint, endpoints, auctions, catalogue, saved, cancel }) {
  const initial = useMemo(() => draftOf(endpoint), []);
  const [draft, set] = useState(initial);
  const [auction_id, setAuction] = useState(auctions[0]?.auction_id);
  const [problem, setProblem] = useState(null);
  const [leave, askToLeave] = useState(null);
  const form = useRef();
  const field = problem && fieldOf(problem);
  const problemOf = (name) => (field === name ? problem : null);
  const change = (name) => (value) => {
    set((before) => ({ ...before, [name]: value }));
    if (field === name) setProblem(null);
  };
  const typed = (name) => (event) => change(name)(event.target.type === "checkbox" ? event.target.checked : event.target.value);
  const isChanged = Object.keys(initial).some((name) => String(draft[name]) !== String(initial[name]));

  useEffect(() => {
    unsaved.ask = isChanged ? (leave) => askToLeave(() => leave) : null;
    return () => (unsaved.ask = null);
  }, [isChanged]);
  useEffect(() => {
    const wrong = field && form.current.querySelector('[aria-invalid="true"]');
    if (!wrong) return;
    for (let part = wrong; part !== form.current; part = part.parentElement) if (part.localName === "details") part.open = true;
    wrong.focus();
  }, [problem]);

  const auctionOfEndpoint = endpoint?.auction_id ?? auction_id;
  const isOther = (known) => known.id !== endpoint?.id && known.auction_id === auctionOfEndpoint;
  const others = endpoints.filter(isOther).map(({ url }) => url);

  async function save() {
    const row = rowOf(draft);
    await api.call("check_webhook_url", { url: draft.url }).catch((problem) => {
      throw Object.assign(problem, { field: "url" });
    });
    if (row.filter)
      await api.call("preview_webhook_filter", { auction_id: auctionOfEndpoint, filter: row.filter }).catch((problem) => {
        throw Object.assign(problem, { field: "filter" });
      });
    const secret = draft.secret ? { secret: draft.secret } : {};
    const written = endpoint
      ? await api.update("webhook_endpoints", endpoint.id, row)
      : await api.insert("webhook_endpoints", { auction_id, ...row, ...secret }, { select: "*,generated_secret" });
    unsaved.ask = null;
    saved(written);
  }

  return html`<form ref=${form} onSubmit=${(event) => event.preventDefault()} novalidate>
    ${!endpoint && auctions.length > 1 && html`<${Choice} label=${t.form.auction} value=${auction_id} choose=${setAuction}
      options=${auctions.map(({ auction_id, name }) => [auction_id, name ?? auction_id])} />`}
    <${UrlField} value=${draft.url} change=${change("url")} others=${others} problem=${problemOf("url")} />
    <${Field} label=${t.form.description} problem=${problemOf("description")} control=${(attributes) => html`<input value=${draft.description} maxlength="1000"
      placeholder=${t.form.descriptionHint} ...${attributes} onInput=${typed("description")} />`} />
    <${EventTree} catalogue=${catalogue} events=${draft.events} change=${change("events")} problem=${problemOf("events")} />
    <details><summary>${endpoint ? t.form.more : t.form.moreNew}</summary>
      <${FilterField} value=${draft.filter} change=${change("filter")} problem=${problemOf("filter")} auction_id=${auctionOfEndpoint} events=${draft.events} />
      ${!endpoint && html`<${SecretField} value=${draft.secret} change=${change("secret")} problem=${problemOf("secret")} />`}
      <${Choice} label=${t.form.signature} value=${draft.signature} choose=${change("signature")} options=${Object.entries(t.form.signatures)} />
      <${Field} label=${t.form.headers} problem=${problemOf("headers")} control=${(attributes) => html`<textarea rows="2" value=${draft.headers}
        placeholder="Authorization: Bearer \u2026" spellcheck=${false} ...${attributes} onInput=${typed("headers")}></textarea>`} />
      <label><input type="checkbox" role="switch" checked=${draft.ordered} onChange=${typed("ordered")} /> ${t.form.ordered}
        <small>${t.form.orderedHelp}</small></label>
      <${Field} label=${t.form.rate} help=${t.form.rateRange} problem=${problemOf("max_per_second")} control=${(attributes) => html`<input type="number"
        min="0.01" max="10000" step="any" placeholder=${t.form.noLimit} value=${draft.max_per_second} ...${attributes} onInput=${typed("max_per_second")} />`} />
      <${RetryFields} draft=${draft} change=${change} problem=${problemOf("retry_schedule")} />
    </details>
    <${ProblemNote} problem=${field ? null : problem} />
    <div class="row end">
      <button type="button" class="secondary" onClick=${() => (isChanged ? askToLeave(() => cancel) : cancel())}>${t.common.cancel}</button>
      <${Action} type="submit" act=${save} onProblem=${setProblem}>${endpoint ? t.common.save : t.form.create}<//>
    </div>
    ${leave && html`<${Question} title=${t.form.discardTitle} yes=${t.form.discard} isDanger close=${() => askToLeave(null)}
      act=${async () => ((unsaved.ask = null), leave())}><p>${t.form.discardAbout}</p><//>`}
  </form>`;
}
