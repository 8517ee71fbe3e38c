// The chart of deliveries over time.
"use strict";

const HOUR = 3_600_000;

/** Series that end with the present hour. */
const SPANS = {
  day: { text: "24 hours", buckets: 24, length: HOUR, interval: "1 hour" },
  week: { text: "7 days", buckets: 28, length: 6 * HOUR, interval: "6 hours" },
};

/** Rows of webhook_activity, with the time that they begin with. */
async function loadActivity(span, signal) {
  const { buckets, length, interval } = SPANS[span];
  const since = (Math.floor(Date.now() / HOUR) + 1) * HOUR - buckets * length;
  const rows = await api.call("webhook_activity", { since: new Date(since).toISOString(), bucket: interval }, signal);
  return { span, since, rows };
}

/** One bar a bucket, of one endpoint or of all. */
function series({ span, since, rows }, endpoint_id) {
  const { buckets, length } = SPANS[span];
  const bars = Array.from({ length: buckets }, (_, at) => ({ begins: since + at * length, delivered: 0, failed: 0 }));
  for (const row of rows) {
    const bar = bars[Math.floor((Date.parse(row.begins_at) - since) / length)];
    if (!bar || (endpoint_id && row.endpoint_id !== endpoint_id)) continue;
    bar.delivered += row.delivered;
    bar.failed += row.failed;
  }
  return bars;
}

function Bars({ activity, endpoint_id, height = 32, isLarge }) {
  const bars = series(activity, endpoint_id);
  const sum = (kind) => bars.reduce((sum, bar) => sum + bar[kind], 0);
  const highest = Math.max(1, ...bars.map((bar) => bar.delivered + bar.failed));
  const label = `Last ${SPANS[activity.span].text}: ${words.number(sum("delivered"))} delivered, ${words.number(sum("failed"))} failed`;
  const width = 100 / bars.length;
  // What there is at all can be seen, however little it is beside the highest.
  const tall = (count) => (count ? Math.max(1.5, (count / highest) * (height - 2)) : 0);
  return html`<svg class="bars ${isLarge ? "large" : ""}" viewBox="0 0 100 ${height}" preserveAspectRatio="none" role="img" aria-label=${label}>
    <title>${label}</title>
    ${bars.map((bar, at) => {
      const [good, bad] = [tall(bar.delivered), tall(bar.failed)];
      return html`<g><title>${words.at(bar.begins)}: ${bar.delivered} delivered, ${bar.failed} failed</title>
        <rect class="ground" x=${at * width} y="0" width=${width * 0.8} height=${height} />
        <rect class="delivered" x=${at * width} y=${height - good} width=${width * 0.8} height=${good} />
        <rect class="failed" x=${at * width} y=${height - good - bad} width=${width * 0.8} height=${bad} /></g>`;
    })}
  </svg>`;
}

/** The chart of a page: of all endpoints, or of one, over a day or a week. */
function Activity({ endpoint_id }) {
  const [span, setSpan] = useState("day");
  const activity = useLoad((signal) => loadActivity(span, signal), [span], 10_000);
  return html`<section class="activity" aria-label="Activity">
    <header class="row"><h2>Deliveries</h2>
      <span class="legend"><i class="delivered"></i> delivered <i class="failed"></i> failed</span>
      <span class="choice" role="group" aria-label="Time">${Object.entries(SPANS).map(
        ([name, { text }]) => html`<button type="button" class="small ${name === span ? "" : "outline"}" aria-pressed=${String(name === span)}
          onClick=${() => setSpan(name)}>${text}</button>`,
      )}</span></header>
    <${Loaded} of=${activity} what="the activity">${(activity) => html`
      <${Bars} activity=${activity} endpoint_id=${endpoint_id} height=${60} isLarge />
      <p class="axis"><span>${words.at(activity.since)}</span><span>now</span></p>`}<//>
  </section>`;
}
