// The chart of deliveries over time, and their numbers by event type and response.
"use strict";

/** Series that end with the present hour. */
const SPANS = {
  day: { text: t.chart.day, buckets: 24, length: HOUR, interval: "1 hour" },
  week: { text: t.chart.week, buckets: 28, length: 6 * HOUR, interval: "6 hours" },
};

/** Rows of webhook_activity, with the time that they begin with. */
async function loadActivity(span, signal) {
  const { buckets, length, interval } = SPANS[span];
  const since = (Math.floor(Date.now() / HOUR) + 1) * HOUR - buckets * length;
  const rows = await api.call("webhook_activity", { since: new Date(since).toISOString(), bucket: interval }, signal);
  return { span, since, rows };
}

/** One bar for each bucket, of one endpoint or of all. */
function series({ span, since, rows }, endpoint_id) {
  const { buckets, length } = SPANS[span];
  const bars = Array.from({ length: buckets }, (_, index) => ({ begins: since + index * length, delivered: 0, failed: 0 }));
  for (const row of rows) {
    const bar = bars[Math.floor((Date.parse(row.begins_at) - since) / length)];
    if (!bar || (endpoint_id && row.endpoint_id !== endpoint_id)) continue;
    bar.delivered += row.delivered;
    bar.failed += row.failed;
  }
  return bars;
}

const sum = (bars, kind) => bars.reduce((sum, bar) => sum + bar[kind], 0);

/** The end of the axis: the lowest of 2, 4, 10, 20, 40, 100, ... that no bar exceeds, so that its half is a whole number. */
function endOfAxis(bars) {
  const highest = Math.max(1, ...bars.map((bar) => bar.delivered + bar.failed));
  let end = 2;
  for (let step = 0; end < highest; step += 1) end *= [2, 2.5, 2][step % 3];
  return end;
}

function Bars({ span, bars, height = 32, isLarge }) {
  const end = endOfAxis(bars);
  const label = t.chart.summary(SPANS[span].text, sum(bars, "delivered"), sum(bars, "failed"));
  const width = 100 / bars.length;
  // A small number remains visible beside a large one.
  const tall = (count) => (count ? Math.max(1.5, (count / end) * (height - 2)) : 0);
  return html`<svg class="bars ${isLarge ? "large" : ""}" viewBox="0 0 100 ${height}" preserveAspectRatio="none" role="img" aria-label=${label}>
    <title>${label}</title>
    ${bars.map((bar, index) => {
      const [good, bad] = [tall(bar.delivered), tall(bar.failed)];
      return html`<g><title>${t.chart.bar(format.at(bar.begins), bar.delivered, bar.failed)}</title>
        <rect class="ground" x=${index * width} y="0" width=${width * 0.8} height=${height} />
        <rect class="delivered" x=${index * width} y=${height - good} width=${width * 0.8} height=${good} />
        <rect class="failed" x=${index * width} y=${height - good - bad} width=${width * 0.8} height=${bad} /></g>`;
    })}
  </svg>`;
}

/** The bars with their axes. */
function Chart({ activity, endpoint_id }) {
  const bars = series(activity, endpoint_id);
  const end = endOfAxis(bars);
  const quarters = [0, 1, 2, 3].map((quarter) => bars[(quarter * bars.length) / 4].begins);
  return html`
    <p class="legend"><i class="delivered"></i> ${t.chart.delivered(sum(bars, "delivered"))} <i class="failed"></i> ${t.chart.failed(sum(bars, "failed"))}</p>
    <div class="chart">
      <div class="axis numbers" aria-hidden="true">${[end, end / 2, 0].map((value) => html`<span>${format.number(value)}</span>`)}</div>
      <${Bars} span=${activity.span} bars=${bars} height=${60} isLarge />
      <div class="axis times" aria-hidden="true">${quarters.map((begins) => html`<span>${format.hour(begins)}</span>`)}<span>${t.chart.now}</span></div>
    </div>`;
}

/** The chart of all endpoints, or of one, over a day or a week. */
function Activity({ endpoint_id }) {
  const [span, setSpan] = useState("day");
  const activity = useLoad((signal) => loadActivity(span, signal), [span], 10_000);
  return html`<section class="activity" aria-label=${t.chart.activity}>
    <header class="row"><h2>${t.chart.deliveries}</h2>
      <${Toggle} label=${t.chart.time} value=${span} choose=${setSpan} options=${Object.entries(SPANS).map(([name, { text }]) => [name, text])} /></header>
    <${Loaded} of=${activity} what=${t.chart.loading}>${(activity) => html`<${Chart} activity=${activity} endpoint_id=${endpoint_id} />`}<//>
  </section>`;
}

/** How many of an endpoint's latest deliveries are counted by event type and response. */
const LATEST = 1000;

/** Numbers by a property of the deliveries, the largest first: [[value, number], ...]. */
function countBy(deliveries, valueOf) {
  const numbers = new Map();
  for (const delivery of deliveries) numbers.set(valueOf(delivery), (numbers.get(valueOf(delivery)) ?? 0) + 1);
  return [...numbers].sort(([, one], [, other]) => other - one);
}

function Numbers({ title, rows, of, link, text }) {
  return html`<table class="numbers"><thead><tr><th scope="col">${title}</th><th scope="col">${t.chart.number}</th>
      <th scope="col">${t.chart.share}</th></tr></thead>
    <tbody>${rows.map(([value, number]) => html`<tr><td><a href=${link(value)}>${text(value)}</a></td><td>${format.number(number)}</td>
      <td>${format.percent(number / of)}</td></tr>`)}</tbody></table>`;
}

/** The latest deliveries of an endpoint by event type and by response. */
function Breakdown({ endpoint_id }) {
  const latest = useLoad((signal) => {
    const parameters = { endpoint_id: `eq.${endpoint_id}`, select: "event_type,response_status_code", order: "created_at.desc,id.desc", limit: LATEST };
    return api.rows("webhook_deliveries", { ...parameters, status: "in.(success,failed)", is_test: "eq.false" }, signal);
  }, [endpoint_id], 10_000);
  const history = `#/endpoints/${endpoint_id}/history`;
  return html`<${Loaded} of=${latest} what=${t.chart.loading}>${(deliveries) => deliveries.length > 0 && html`
    <section aria-label=${t.chart.latest(deliveries.length)}>
      <h2>${t.chart.latest(deliveries.length)}</h2>
      <div class="grid">
        <${Numbers} title=${t.chart.byEvent} of=${deliveries.length} rows=${countBy(deliveries, ({ event_type }) => event_type)}
          text=${(type) => type} link=${(type) => `${history}?event_type=${type}`} />
        <${Numbers} title=${t.chart.byResponse} of=${deliveries.length} rows=${countBy(deliveries, ({ response_status_code }) => response_status_code)}
          text=${(code) => (code == null ? t.chart.noResponse : t.chart.response(code))}
          link=${(code) => `${history}?response=${code == null ? "none" : String(code)[0]}`} />
      </div>
    </section>`}<//>`;
}
