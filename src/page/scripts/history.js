// The history of deliveries, newest first.
"use strict";

const NAMES = COLUMNS.split(",");
const isSame = (one, other) => NAMES.every((column) => one[column] === other[column]);

const hasEnded = ({ status }) => status === "success" || status === "failed";

/** Whether a row comes later in the list, which is older. */
function isAfter(row, last) {
  const [queued, before] = [Date.parse(row.created_at), Date.parse(last.created_at)];
  return queued < before || (queued === before && row.id < last.id);
}

/** The newest page; and of the shown rows below it, those that have not ended. */
async function loadNews(filter, shown, signal) {
  const newest = await loadPage(filter, null, signal);
  const below = newest.length === PAGE ? shown.filter((row) => !hasEnded(row) && isAfter(row, newest.at(-1))).slice(0, PAGE) : [];
  const ids = below.map(({ id }) => id).join();
  const followed = ids ? await api.rows("webhook_deliveries", { select: COLUMNS, id: `in.(${ids})` }, signal) : [];
  return { filter, newest, followed };
}

/** The list with the rows that were just read. A row that has not changed stays the same object, and is not drawn again. */
function merge(list, { newest, followed }) {
  const known = new Map(list.map((row) => [row.id, row]));
  const kept = (row) => (known.has(row.id) && isSame(known.get(row.id), row) ? known.get(row.id) : row);
  const isFilled = newest.length === PAGE;
  // There are more new rows than a page holds, and those between are unknown: the list starts again.
  if (!isFilled || (list.length && !newest.some((row) => known.has(row.id)))) return newest.map(kept);
  const changed = new Map(followed.map((row) => [row.id, kept(row)]));
  const below = list.filter((row) => isAfter(row, newest.at(-1)));
  return [...newest.map(kept), ...below.map((row) => changed.get(row.id) ?? row)];
}

class DeliveryRow extends Component {
  shouldComponentUpdate(next) {
    return ["delivery", "isOpen", "isSelected", "endpoint"].some((name) => next[name] !== this.props[name]);
  }

  render({ delivery, isOpen, isSelected, endpoint, toggle, select, changed, width }) {
    const { id, event_type, is_test, status, response_status_code, response_time_ms, error_message, created_at } = delivery;
    return [
      html`<tr class=${isOpen ? "open" : ""} onClick=${({ target }) => target.closest("button, .select") || toggle(id)}>
        <td class="select">${!is_test && html`<input type="checkbox" aria-label=${t.history.select(event_type)} checked=${isSelected} onChange=${() => select(id)} />`}</td>
        <td data-label=${t.history.event}>
          <button type="button" class="link" aria-expanded=${String(isOpen)} onClick=${() => toggle(id)}>${event_type}</button>
          ${is_test && html` <${Badge} name="test">${t.common.test}<//>`}</td>
        <td data-label=${t.history.status}><${Badge} name=${status}>${format.status(status)}<//></td>
        <td data-label=${t.history.response}>${response_status_code ?? t.common.none}</td>
        <td data-label=${t.history.took}>${format.milliseconds(response_time_ms) || t.common.none}</td>
        <td data-label=${t.history.error} class="error">${error_message}</td>
        ${endpoint !== undefined && html`<td data-label=${t.history.endpoint} class="url">${endpoint ?? t.history.deleted}</td>`}
        <td data-label=${t.history.queued}><${Ago} time=${created_at} /></td>
      </tr>`,
      isOpen && html`<tr class="detail"><td colspan=${width}><${Delivery} delivery=${delivery} changed=${changed} /></td></tr>`,
    ];
  }
}

/** The parameters of the view, after the `?` in the address, so that it can be shared. */
const shared = {
  read: () => Object.fromEntries(new URLSearchParams(location.hash.split("?")[1])),
  write(parameters) {
    const text = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value)).toString();
    history.replaceState(null, "", location.hash.split("?")[0] + (text && `?${text}`));
  },
};

/** The deliveries that a filter selects: { rows, isCurrent, hasMore, more, news }. New ones appear by themselves, and those that have not ended are followed. */
function useDeliveries(filter) {
  const [list, setList] = useState({ rows: [], hasMore: false });
  const shown = useRef();
  shown.current = list.filter === filter ? list.rows : [];
  const news = useLoad((signal) => loadNews(filter, shown.current, signal), [filter], 1500);
  useEffect(() => {
    const found = news.data;
    if (!found) return;
    setList((before) => {
      if (before.filter !== found.filter) return { rows: found.newest, filter: found.filter, hasMore: found.newest.length === PAGE };
      const rows = merge(before.rows, found);
      return { ...before, rows, hasMore: found.newest.length === PAGE && (before.hasMore || rows.length === PAGE) };
    });
  }, [news.data]);
  async function more() {
    const last = list.rows.at(-1);
    const rows = await loadPage(filter, last);
    // Unless the list has changed in the meantime.
    const isIts = (list) => list.filter === filter && list.rows.at(-1)?.id === last.id;
    setList((list) => (isIts(list) ? { ...list, rows: [...list.rows, ...rows], hasMore: rows.length === PAGE } : list));
  }
  return { rows: list.rows, isCurrent: list.filter === filter, hasMore: list.hasMore, more, news };
}

/** The id of the opened delivery. Escape closes it. */
function useOpened() {
  const [open, setOpen] = useState(() => shared.read().open ?? null);
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
  return [open, (id) => setOpen((before) => (before === id ? null : id))];
}

/** The deliveries of all endpoints, or of one. */
function History({ endpoints, catalogue, endpoint_id }) {
  const nothing = { ...NO_FILTER, endpoint_id: endpoint_id ?? "" };
  const [filter, setFilter] = useState(() => ({ ...filterOf(shared.read()), ...(endpoint_id && { endpoint_id }) }));
  const isFiltered = Object.keys(nothing).some((field) => filter[field] !== nothing[field]);
  const [open, toggle] = useOpened();
  const [selected, setSelected] = useState(new Set());
  useEffect(() => setSelected(new Set()), [filter]);
  const select = (id) => setSelected((before) => new Set(before.has(id) ? [...before].filter((other) => other !== id) : [...before, id]));
  useEffect(() => shared.write({ ...filter, endpoint_id: endpoint_id ? "" : filter.endpoint_id, open }), [filter, open]);
  const { rows, isCurrent, hasMore, more, news } = useDeliveries(filter);
  const deleted = useLoad((signal) => api.rows("webhook_deleted_endpoints", { select: "id,url,description", order: "deleted_at.desc" }, signal), [endpoints.length]).data ?? [];
  const names = useMemo(() => {
    const name = ({ url, description }) => description || url;
    return new Map([...deleted.map((gone) => [gone.id, t.history.deletedNamed(name(gone))]), ...endpoints.map((known) => [known.id, name(known)])]);
  }, [endpoints, deleted]);
  const { event, status, response, took, error, endpoint, queued } = t.history;
  const headings = ["", event, status, response, took, error, ...(endpoint_id ? [] : [endpoint]), queued];
  return html`<section aria-label=${t.history.title}>
    <${Filters} filter=${filter} set=${setFilter} names=${names} catalogue=${catalogue} isOfOne=${Boolean(endpoint_id)} />
    <${ProblemNote} problem=${news.problem} retry=${news.reload} />
    ${!isCurrent && !news.problem && html`<p aria-busy="true" role="status">${t.common.loading(t.history.loading)}</p>`}
    ${isCurrent && !rows.length && (isFiltered
      ? html`<${NoMatch} text=${t.history.noneMatch} clear=${() => setFilter(nothing)} />`
      : html`<p>${t.history.none}</p>`)}
    ${rows.length > 0 && html`<${RetryBar} filter=${filter} selected=${selected} clear=${() => setSelected(new Set())} changed=${news.reload} />
      <table class="deliveries" aria-busy=${isCurrent ? null : "true"}>
      <thead><tr>${headings.map((heading) => (heading ? html`<th scope="col">${heading}</th>` : html`<td></td>`))}</tr></thead>
      <tbody>${rows.map((delivery) => html`<${DeliveryRow} key=${delivery.id} delivery=${delivery} isOpen=${open === delivery.id}
        isSelected=${selected.has(delivery.id)} endpoint=${endpoint_id ? undefined : (names.get(delivery.endpoint_id) ?? null)} width=${headings.length}
        toggle=${toggle} select=${select} changed=${news.reload} />`)}</tbody>
    </table>`}
    ${hasMore && html`<p class="row center">
      <${Action} class="outline" act=${more}>${t.history.more}<//> <small>${t.history.shown(rows.length)}</small></p>`}
  </section>`;
}
