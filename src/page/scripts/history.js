// What became of each delivery, newest first?
"use strict";

const PAGE = 50;
const COLUMNS = "id,endpoint_id,event_type,status,attempts,response_status_code,response_time_ms,error_message,is_test,created_at,next_attempt_at";
const TIMES = { "": "any time", 1: "last hour", 24: "last 24 hours", 168: "last 7 days" };

/** A page of deliveries as filters want them: the newest, or those after a row. Read by key, so the thousandth costs what the first does. */
function loadPage(filter, after, signal) {
  const parameters = [["select", COLUMNS], ["order", "created_at.desc,id.desc"], ["limit", PAGE]];
  for (const field of ["endpoint_id", "status"]) if (filter[field]) parameters.push([field, `eq.${filter[field]}`]);
  if (filter.event_type) parameters.push(["event_type", filter.event_type.endsWith(".*") ? `like.${filter.event_type}` : `eq.${filter.event_type}`]);
  if (filter.hours) parameters.push(["created_at", `gte.${new Date(Date.now() - filter.hours * HOUR).toISOString()}`]);
  if (after) {
    parameters.push(["created_at", `lte.${after.created_at}`], ["or", `(created_at.lt."${after.created_at}",id.lt.${after.id})`]);
  }
  return api.rows("webhook_deliveries", parameters, signal);
}

const isSame = (one, other) => COLUMNS.split(",").every((column) => one[column] === other[column]);

/** The list with what has been read anew put into it. A row that has not changed stays the same object, and is not drawn again. */
function merge(list, newest) {
  const known = new Map(list.map((row) => [row.id, row]));
  const fresh = newest.map((row) => (known.has(row.id) && isSame(known.get(row.id), row) ? known.get(row.id) : row));
  const isFilled = newest.length === PAGE;
  // More has happened than a page holds: what lies between is not known, so the list begins anew.
  if (isFilled && list.length && !newest.some((row) => known.has(row.id))) return fresh;
  const last = fresh.at(-1);
  const isAfter = (row) => last && (row.created_at < last.created_at || (row.created_at === last.created_at && row.id < last.id));
  return [...fresh, ...(isFilled ? list.filter(isAfter) : [])];
}

class DeliveryRow extends Component {
  shouldComponentUpdate(next) {
    return next.delivery !== this.props.delivery || next.isOpen !== this.props.isOpen || next.url !== this.props.url;
  }

  render({ delivery, isOpen, url, toggle, changed, width }) {
    return [
      html`<tr class=${isOpen ? "open" : ""}>
        <td data-label="Event"><button type="button" class="link" aria-expanded=${String(isOpen)} onClick=${() => toggle(delivery.id)}>${delivery.event_type}</button>
          ${delivery.is_test && html` <${Badge} name="test">test<//>`}</td>
        <td data-label="Status"><${Badge} name=${delivery.status}>${words.status(delivery.status)}<//></td>
        <td data-label="Response">${delivery.response_status_code ?? "–"}</td>
        <td data-label="Time">${words.milliseconds(delivery.response_time_ms) || "–"}</td>
        <td data-label="Error" class="error">${delivery.error_message}</td>
        ${url !== undefined && html`<td data-label="Endpoint" class="url">${url ?? "deleted"}</td>`}
        <td data-label="Queued"><time datetime=${delivery.created_at}>${words.at(delivery.created_at)}</time></td>
      </tr>`,
      isOpen && html`<tr class="detail"><td colspan=${width}><${Delivery} delivery=${delivery} changed=${changed} /></td></tr>`,
    ];
  }
}

function Filters({ filter, set, endpoints, catalogue, isOfOne }) {
  const choose = (field) => (event) => set({ ...filter, [field]: event.target.value });
  return html`<form class="filters" aria-label="Filters" onSubmit=${(event) => event.preventDefault()}>
    ${!isOfOne && html`<label>Endpoint <select value=${filter.endpoint_id} onChange=${choose("endpoint_id")}>
      <option value="">all</option>${endpoints.map((endpoint) => html`<option value=${endpoint.id}>${endpoint.url}</option>`)}</select></label>`}
    <label>Event <select value=${filter.event_type} onChange=${choose("event_type")}>
      <option value="">all</option>
      ${Object.entries(families(catalogue)).map(([family, types]) => html`<optgroup label=${family}>
        <option value="${family}.*">${family}.*</option>${types.map((type) => html`<option value=${type.event_type}>${type.event_type}</option>`)}</optgroup>`)}
    </select></label>
    <label>Status <select value=${filter.status} onChange=${choose("status")}>
      <option value="">all</option>${["pending", "retrying", "success", "failed"].map((status) => html`<option value=${status}>${words.status(status)}</option>`)}</select></label>
    <label>Time <select value=${filter.hours} onChange=${choose("hours")}>
      ${Object.entries(TIMES).map(([hours, text]) => html`<option value=${hours}>${text}</option>`)}</select></label>
  </form>`;
}

/** Of all endpoints, or of one. New ones appear by themselves, and what is still to be done is followed. */
function History({ endpoints, catalogue, endpoint_id }) {
  const [filter, setFilter] = useState({ endpoint_id: endpoint_id ?? "", event_type: "", status: "", hours: "" });
  const [list, setList] = useState({ rows: [], hasMore: false });
  const [open, setOpen] = useState(null);
  const newest = useLoad((signal) => loadPage(filter, null, signal).then((rows) => ({ rows, filter })), [filter], 1500);
  useEffect(() => {
    const found = newest.data;
    if (!found) return;
    setList((before) => {
      if (before.filter !== found.filter) return { rows: found.rows, filter: found.filter, hasMore: found.rows.length === PAGE };
      return { ...before, rows: merge(before.rows, found.rows) };
    });
  }, [newest.data]);
  const urls = useMemo(() => new Map(endpoints.map((endpoint) => [endpoint.id, endpoint.url])), [endpoints]);
  async function more() {
    const rows = await loadPage(filter, list.rows.at(-1));
    setList((before) => ({ ...before, rows: [...before.rows, ...rows], hasMore: rows.length === PAGE }));
  }
  const isCurrent = list.filter === filter;
  const headings = ["Event", "Status", "Response", "Time", "Error", ...(endpoint_id ? [] : ["Endpoint"]), "Queued"];
  return html`<section aria-label="Delivery history">
    <${Filters} filter=${filter} set=${setFilter} endpoints=${endpoints} catalogue=${catalogue} isOfOne=${Boolean(endpoint_id)} />
    <${ProblemNote} problem=${newest.problem} retry=${newest.reload} />
    ${!isCurrent && !newest.problem && html`<p aria-busy="true" role="status">Loading deliveries…</p>`}
    ${isCurrent && !list.rows.length && html`<p>No deliveries. Send a test, or wait for something to happen.</p>`}
    ${list.rows.length > 0 && html`<table class="deliveries" aria-busy=${isCurrent ? null : "true"}>
      <thead><tr>${headings.map((heading) => html`<th scope="col">${heading}</th>`)}</tr></thead>
      <tbody>${list.rows.map((delivery) => html`<${DeliveryRow} key=${delivery.id} delivery=${delivery} isOpen=${open === delivery.id}
        url=${endpoint_id ? undefined : (urls.get(delivery.endpoint_id) ?? null)} width=${headings.length}
        toggle=${(id) => setOpen((before) => (before === id ? null : id))} changed=${newest.reload} />`)}</tbody>
    </table>`}
    ${list.hasMore && html`<p class="row center"><${Action} class="outline" act=${more}>Load more<//> <small>${words.number(list.rows.length)} shown</small></p>`}
  </section>`;
}
