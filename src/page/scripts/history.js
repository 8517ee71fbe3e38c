// The history of deliveries, newest first.
"use strict";

const PAGE = 50;
const COLUMNS = "id,endpoint_id,event_type,status,attempts,response_status_code,response_time_ms,error_message,is_test,created_at,next_attempt_at";
const NO_FILTER = { endpoint_id: "", event_type: "", status: "", response: "", is_test: "", hours: "", id: "" };
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
/** The filters with fixed options: each value, and what it is called. */
const CHOICES = {
  status: [["", "all"], ...["pending", "retrying", "success", "failed"].map((status) => [status, words.status(status)])],
  response: [["", "all"], ["2", "2xx"], ["3", "3xx"], ["4", "4xx"], ["5", "5xx"], ["none", "no response"]],
  is_test: [["", "all"], ["false", "without tests"], ["true", "only tests"]],
  hours: [["", "any time"], ["1", "last hour"], ["24", "last 24 hours"], ["168", "last 7 days"]],
};

/** Whether a filter can have a value. One in an address may be mistyped. */
const isPossible = (field, value) =>
  field in CHOICES ? CHOICES[field].some(([known]) => known === value) : field === "event_type" || UUID.test(value);

/** A page of deliveries as filters want them: the newest, or those after a row. Read by key, so the thousandth costs what the first does. */
function loadPage(filter, after, signal) {
  const parameters = [["select", COLUMNS], ["order", "created_at.desc,id.desc"], ["limit", PAGE]];
  for (const field of ["id", "endpoint_id", "status", "is_test"]) if (filter[field]) parameters.push([field, `eq.${filter[field]}`]);
  if (filter.response === "none") parameters.push(["response_status_code", "is.null"]);
  else if (filter.response) parameters.push(["response_status_code", `gte.${filter.response}00`], ["response_status_code", `lt.${Number(filter.response) + 1}00`]);
  if (filter.event_type) parameters.push(["event_type", filter.event_type.endsWith(".*") ? `like.${filter.event_type}` : `eq.${filter.event_type}`]);
  if (filter.hours) parameters.push(["created_at", `gte.${new Date(Date.now() - filter.hours * HOUR).toISOString()}`]);
  if (after) {
    parameters.push(["created_at", `lte.${after.created_at}`], ["or", `(created_at.lt."${after.created_at}",id.lt.${after.id})`]);
  }
  return api.rows("webhook_deliveries", parameters, signal);
}

const NAMES = COLUMNS.split(",");
const isSame = (one, other) => NAMES.every((column) => one[column] === other[column]);

const hasEnded = ({ status }) => status === "success" || status === "failed";

/** Whether a row comes later in the list, which is older. */
function isAfter(row, last) {
  const [queued, before] = [Date.parse(row.created_at), Date.parse(last.created_at)];
  return queued < before || (queued === before && row.id < last.id);
}

/** The newest page; and of the rows below it that are shown, those that were still to be done. */
async function loadNews(filter, shown, signal) {
  const newest = await loadPage(filter, null, signal);
  const below = newest.length === PAGE ? shown.filter((row) => !hasEnded(row) && isAfter(row, newest.at(-1))).slice(0, PAGE) : [];
  const ids = below.map(({ id }) => id).join();
  const followed = ids ? await api.rows("webhook_deliveries", { select: COLUMNS, id: `in.(${ids})` }, signal) : [];
  return { filter, newest, followed };
}

/** The list with what has been read anew put into it. A row that has not changed stays the same object, and is not drawn again. */
function merge(list, { newest, followed }) {
  const known = new Map(list.map((row) => [row.id, row]));
  const kept = (row) => (known.has(row.id) && isSame(known.get(row.id), row) ? known.get(row.id) : row);
  const isFilled = newest.length === PAGE;
  // More has happened than a page holds: what lies between is not known, so the list begins anew.
  if (!isFilled || (list.length && !newest.some((row) => known.has(row.id)))) return newest.map(kept);
  const changed = new Map(followed.map((row) => [row.id, kept(row)]));
  const below = list.filter((row) => isAfter(row, newest.at(-1)));
  return [...newest.map(kept), ...below.map((row) => changed.get(row.id) ?? row)];
}

class DeliveryRow extends Component {
  shouldComponentUpdate(next) {
    return next.delivery !== this.props.delivery || next.isOpen !== this.props.isOpen || next.url !== this.props.url;
  }

  render({ delivery, isOpen, url, toggle, changed, width }) {
    return [
      html`<tr class=${isOpen ? "open" : ""} onClick=${({ target }) => target.closest("button") || toggle(delivery.id)}>
        <td data-label="Event">
          <button type="button" class="link" aria-expanded=${String(isOpen)} onClick=${() => toggle(delivery.id)}>${delivery.event_type}</button>
          ${delivery.is_test && html` <${Badge} name="test">test<//>`}</td>
        <td data-label="Status"><${Badge} name=${delivery.status}>${words.status(delivery.status)}<//></td>
        <td data-label="Response">${delivery.response_status_code ?? "\u2013"}</td>
        <td data-label="Time">${words.milliseconds(delivery.response_time_ms) || "\u2013"}</td>
        <td data-label="Error" class="error">${delivery.error_message}</td>
        ${url !== undefined && html`<td data-label="Endpoint" class="url">${url ?? "deleted"}</td>`}
        <td data-label="Queued"><time datetime=${delivery.created_at}>${words.at(delivery.created_at)}</time></td>
      </tr>`,
      isOpen && html`<tr class="detail"><td colspan=${width}><${Delivery} delivery=${delivery} changed=${changed} /></td></tr>`,
    ];
  }
}

/** Filters by webhook id, as soon as a whole one is there. */
function IdField({ value, choose }) {
  const [typed, setTyped] = useState(value);
  useEffect(() => setTyped(value), [value]);
  const type = (text) => {
    setTyped(text);
    if (!text || UUID.test(text)) choose(text.toLowerCase());
  };
  return html`<label>Webhook ID <input value=${typed} placeholder="all" spellcheck=${false} autocomplete="off"
    aria-invalid=${typed && !UUID.test(typed) ? "true" : null} onInput=${(event) => type(event.target.value.trim())} /></label>`;
}

function Filters({ filter, set, endpoints, catalogue, isOfOne }) {
  const field = (name, label, options = CHOICES[name]) => html`<${Choice} label=${label} value=${filter[name]} options=${options}
    choose=${(value) => set({ ...filter, [name]: value })} />`;
  const all = ["", "all"];
  const byFamily = Object.entries(families(catalogue)).map(([family, types]) => ({
    group: family,
    options: [`${family}.*`, ...types.map(({ event_type }) => event_type)].map((name) => [name, name]),
  }));
  return html`<form class="filters" aria-label="Filters" onSubmit=${(event) => event.preventDefault()}>
    ${!isOfOne && field("endpoint_id", "Endpoint", [all, ...endpoints.map(({ id, url }) => [id, url])])}
    ${field("event_type", "Event", [all, ...byFamily])}
    ${field("status", "Status")}
    ${field("response", "Response")}
    ${field("is_test", "Tests")}
    ${field("hours", "Time")}
    <${IdField} value=${filter.id} choose=${(id) => set({ ...filter, id })} />
  </form>`;
}

/** The parameters of the view, which follow the `?` in the address, so that it can be shared. */
const shared = {
  read: () => Object.fromEntries(new URLSearchParams(location.hash.split("?")[1])),
  write(parameters) {
    const text = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value)).toString();
    history.replaceState(null, "", location.hash.split("?")[0] + (text && `?${text}`));
  },
};

/** Of all endpoints, or of one. New ones appear by themselves, and what is still to be done is followed. */
function History({ endpoints, catalogue, endpoint_id }) {
  const [filter, setFilter] = useState(() => {
    const given = shared.read();
    const known = Object.keys(NO_FILTER).map((field) => [field, isPossible(field, given[field] ?? "") ? (given[field] ?? "") : ""]);
    return { ...Object.fromEntries(known), ...(endpoint_id && { endpoint_id }) };
  });
  const isFiltered = Object.keys(NO_FILTER).some((field) => field !== "endpoint_id" && filter[field]) || (!endpoint_id && filter.endpoint_id);
  const [list, setList] = useState({ rows: [], hasMore: false });
  const [open, setOpen] = useState(() => shared.read().open ?? null);
  useEffect(() => shared.write({ ...filter, endpoint_id: endpoint_id ? "" : filter.endpoint_id, open }), [filter, open]);
  useEffect(() => {
    if (!open) return;
    const close = ({ key }) => {
      if (key !== "Escape" || document.querySelector("dialog[open]")) return;
      document.querySelector('.deliveries [aria-expanded="true"]')?.focus();
      setOpen(null);
    };
    addEventListener("keydown", close);
    return () => removeEventListener("keydown", close);
  }, [open]);
  const shown = useRef();
  shown.current = list.filter === filter ? list.rows : [];
  const news = useLoad((signal) => loadNews(filter, shown.current, signal), [filter], 1500);
  useEffect(() => {
    const found = news.data;
    if (!found) return;
    setList((before) => {
      if (before.filter !== found.filter) return { rows: found.newest, filter: found.filter, hasMore: found.newest.length === PAGE };
      const rows = merge(before.rows, found);
      return { ...before, rows, hasMore: before.hasMore || rows.length === PAGE };
    });
  }, [news.data]);
  const urls = useMemo(() => new Map(endpoints.map((endpoint) => [endpoint.id, endpoint.url])), [endpoints]);
  async function more() {
    const last = list.rows.at(-1);
    const rows = await loadPage(filter, last);
    // Unless it has become another list meanwhile.
    const isIts = (list) => list.filter === filter && list.rows.at(-1)?.id === last.id;
    setList((list) => (isIts(list) ? { ...list, rows: [...list.rows, ...rows], hasMore: rows.length === PAGE } : list));
  }
  const isCurrent = list.filter === filter;
  const headings = ["Event", "Status", "Response", "Time", "Error", ...(endpoint_id ? [] : ["Endpoint"]), "Queued"];
  return html`<section aria-label="Delivery history">
    <${Filters} filter=${filter} set=${setFilter} endpoints=${endpoints} catalogue=${catalogue} isOfOne=${Boolean(endpoint_id)} />
    <${ProblemNote} problem=${news.problem} retry=${news.reload} />
    ${!isCurrent && !news.problem && html`<p aria-busy="true" role="status">Loading deliveries\u2026</p>`}
    ${isCurrent && !list.rows.length && (isFiltered
      ? html`<p class="row">No deliveries match. <button type="button" class="small outline"
          onClick=${() => setFilter({ ...NO_FILTER, endpoint_id: endpoint_id ?? "" })}>Clear filters</button></p>`
      : html`<p>No deliveries yet. Send a test, or wait for the next event.</p>`)}
    ${list.rows.length > 0 && html`<table class="deliveries" aria-busy=${isCurrent ? null : "true"}>
      <thead><tr>${headings.map((heading) => html`<th scope="col">${heading}</th>`)}</tr></thead>
      <tbody>${list.rows.map((delivery) => html`<${DeliveryRow} key=${delivery.id} delivery=${delivery} isOpen=${open === delivery.id}
        url=${endpoint_id ? undefined : (urls.get(delivery.endpoint_id) ?? null)} width=${headings.length}
        toggle=${(id) => setOpen((before) => (before === id ? null : id))} changed=${news.reload} />`)}</tbody>
    </table>`}
    ${list.hasMore && html`<p class="row center">
      <${Action} class="outline" act=${more}>Load more<//> <small>${words.number(list.rows.length)} shown</small></p>`}
  </section>`;
}
