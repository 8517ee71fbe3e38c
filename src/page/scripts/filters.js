// The filters of the delivery history, and the deliveries that they select.
"use strict";

const PAGE = 50;
const COLUMNS = "id,endpoint_id,event_type,status,attempts,response_status_code,response_time_ms,error_message,is_test,created_at,next_attempt_at";
const NO_FILTER = { endpoint_id: "", event_type: "", status: "", response: "", is_test: "", hours: "", since: "", until: "", id: "" };
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

const isTime = (text) => !Number.isNaN(Date.parse(text));

/** The filters with fixed options: each value, and its text. */
const CHOICES = {
  status: [["", t.history.all], ...Object.entries(t.status)],
  response: [["", t.history.all], ["2", "2xx"], ["3", "3xx"], ["4", "4xx"], ["5", "5xx"], ["none", t.history.noResponse]],
  is_test: [["", t.history.all], ["false", t.history.withoutTests], ["true", t.history.onlyTests]],
  hours: [["", t.history.anyTime], ["1", t.history.lastHour], ["24", t.history.lastDay], ["168", t.history.lastWeek], ["range", t.history.range]],
};

/** Whether a filter can have a value. One in an address may be mistyped. */
function isPossible(field, value) {
  if (field in CHOICES) return CHOICES[field].some(([known]) => known === value);
  if (field === "since" || field === "until") return isTime(value);
  return field === "event_type" || UUID.test(value);
}

/** The filters that an address has, without those that no filter can have. */
function filterOf(parameters) {
  const known = Object.keys(NO_FILTER).map((field) => [field, isPossible(field, parameters[field] ?? "") ? (parameters[field] ?? "") : ""]);
  return Object.fromEntries(known);
}

/** A filter as PostgREST takes it. */
function conditions(filter) {
  const found = [];
  if (filter.status) found.push(["status", `in.(${filter.status})`]);
  for (const field of ["id", "endpoint_id", "is_test"]) if (filter[field]) found.push([field, `eq.${filter[field]}`]);
  if (filter.response === "none") found.push(["response_status_code", "is.null"]);
  else if (filter.response) found.push(["response_status_code", `gte.${filter.response}00`], ["response_status_code", `lt.${Number(filter.response) + 1}00`]);
  if (filter.event_type) found.push(["event_type", filter.event_type.endsWith(".*") ? `like.${filter.event_type}` : `eq.${filter.event_type}`]);
  if (filter.hours === "range") {
    if (filter.since) found.push(["created_at", `gte.${new Date(filter.since).toISOString()}`]);
    if (filter.until) found.push(["created_at", `lt.${new Date(filter.until).toISOString()}`]);
  } else if (filter.hours) found.push(["created_at", `gte.${new Date(Date.now() - filter.hours * HOUR).toISOString()}`]);
  return found;
}

/** A page of deliveries that a filter selects: the newest, or those after a row. Read by key: the thousandth page costs what the first does. */
function loadPage(filter, after, signal, { columns = COLUMNS, size = PAGE } = {}) {
  const parameters = [["select", columns], ["order", "created_at.desc,id.desc"], ["limit", size], ...conditions(filter)];
  if (after) parameters.push(["created_at", `lte.${after.created_at}`], ["or", `(created_at.lt."${after.created_at}",id.lt.${after.id})`]);
  return api.rows("webhook_deliveries", parameters, signal);
}

/** Filters by webhook id as soon as it is complete. */
function IdField({ value, choose }) {
  const [typed, setTyped] = useState(value);
  useEffect(() => setTyped(value), [value]);
  const type = (text) => {
    setTyped(text);
    if (!text || UUID.test(text)) choose(text.toLowerCase());
  };
  return html`<label>${t.history.id} <input value=${typed} placeholder=${t.history.all} spellcheck=${false} autocomplete="off"
    aria-invalid=${typed && !UUID.test(typed) ? "true" : null} onInput=${(event) => type(event.target.value.trim())} /></label>`;
}

function TimeField({ label, value, choose }) {
  return html`<label>${label} <input type="datetime-local" value=${value} onChange=${(event) => choose(event.target.value)} /></label>`;
}

/** `names`: of the endpoints by their ids, of deleted ones too. */
function Filters({ filter, set, names, catalogue, isOfOne }) {
  const choose = (name) => (value) => set({ ...filter, [name]: value });
  const field = (name, label, options = CHOICES[name]) => html`<${Choice} label=${label} value=${filter[name]} options=${options} choose=${choose(name)} />`;
  const all = ["", t.history.all];
  const byFamily = Object.entries(families(catalogue)).map(([family, types]) => ({
    group: family,
    options: [`${family}.*`, ...types.map(({ event_type }) => event_type)].map((name) => [name, name]),
  }));
  return html`<form class="filters" aria-label=${t.common.filters} onSubmit=${(event) => event.preventDefault()}>
    ${!isOfOne && field("endpoint_id", t.history.endpoint, [all, ...names])}
    ${field("event_type", t.history.event, [all, ...byFamily])}
    ${field("status", t.history.status)}
    ${field("response", t.history.response)}
    ${field("is_test", t.history.tests)}
    ${field("hours", t.history.time)}
    ${filter.hours === "range" && html`
      <${TimeField} label=${t.history.from} value=${filter.since} choose=${choose("since")} />
      <${TimeField} label=${t.history.until} value=${filter.until} choose=${choose("until")} />`}
    <${IdField} value=${filter.id} choose=${choose("id")} />
  </form>`;
}
