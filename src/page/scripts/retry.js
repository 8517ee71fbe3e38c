// Retrying several deliveries: those that are selected, or all failed ones that match the filters.
"use strict";

/** How many deliveries are retried at most, and how many are read at a time to find them. */
const MAX_MATCHING = 10_000;
const PORTION = 1000;

/** Retries these deliveries by one call: all of them or none, at one pace. Says how many are sent again. */
async function retryAll(ids) {
  notices.show(t.history.retried(await api.call("redeliver_webhooks", { delivery_ids: ids })));
}

/** The ids of the latest deliveries that a filter selects and that have failed or wait for another attempt. */
async function loadFailed(filter, signal) {
  const failed = { ...filter, status: filter.status || "failed,retrying", is_test: "false" };
  const found = [];
  while (found.length < MAX_MATCHING) {
    const page = await loadPage(failed, found.at(-1), signal, { columns: "id,created_at", size: PORTION });
    // The server may return fewer than were asked for.
    if (!page.length) return { ids: found.map(({ id }) => id), isAll: true };
    found.push(...page);
  }
  return { ids: found.map(({ id }) => id), isAll: false };
}

/** Says how many deliveries would be retried, then retries them. */
function RetryMatching({ filter, close, changed }) {
  const failed = useLoad((signal) => loadFailed(filter, signal), []);
  const { ids = [], isAll } = failed.data ?? {};
  const retry = async () => (await retryAll(ids), close(), changed());
  const title = !failed.data ? t.common.loading(t.history.counting) : ids.length ? t.history.retryTitle(ids.length, isAll) : t.history.retryNone;
  return html`<${Question} title=${title} yes=${t.history.retry} act=${ids.length ? retry : null} close=${close}>
    ${ids.length > 0 && html`<p>${t.history.retryAbout}</p>`}<${ProblemNote} problem=${failed.problem} retry=${failed.reload} /><//>`;
}

/** What can be done with the selected deliveries, or with all that match. */
function RetryBar({ filter, selected, clear, changed }) {
  const [isAsking, ask] = useState(false);
  const retry = async () => (await retryAll([...selected]), clear(), changed());
  return html`<div class="row retry">
    ${selected.size > 0 && html`<${Action} class="small" act=${retry}>${t.history.retrySelected(selected.size)}<//>
      <button type="button" class="small secondary" onClick=${clear}>${t.history.clearSelection}</button>`}
    ${["", "failed", "retrying"].includes(filter.status) && filter.is_test !== "true" && html`<button type="button" class="small outline"
      onClick=${() => ask(true)}>${t.history.retryMatching}</button>`}
    ${isAsking && html`<${RetryMatching} filter=${filter} close=${() => ask(false)} changed=${changed} />`}
  </div>`;
}
