// Sending a test event to an endpoint.
"use strict";

/** Follows a test until it has ended, for a little longer than a request may take. Returns the response body of a failure. */
async function followTest(id, report) {
  const deadline = Date.now() + 40_000;
  for (;;) {
    const [delivery] = await api.rows("webhook_deliveries", { id: `eq.${id}`, select: COLUMNS });
    if (delivery) report(delivery);
    if (delivery?.status === "failed") {
      const [attempt] = await api.rows("webhook_delivery_attempts", { delivery_id: `eq.${id}`, select: "response_excerpt" });
      return report({ ...delivery, response_excerpt: attempt?.response_excerpt });
    }
    if (delivery && hasEnded(delivery)) return;
    if (Date.now() > deadline) throw new Problem(t.test.waits, t.test.waitsWhy);
    await new Promise((resolve) => setTimeout(resolve, 150));
  }
}

function Answer({ delivery }) {
  const after = format.milliseconds(delivery.response_time_ms);
  if (delivery.status === "success")
    return html`<p class="note good"><${Badge} name="success">${t.status.success}<//> ${t.test.answered(delivery.response_status_code, after)}</p>`;
  if (delivery.status === "failed")
    return html`<div class="note bad"><${Badge} name="failed">${t.status.failed}<//> <strong>${delivery.error_message}</strong>${t.test.failed(after)}
      <${ResponseBody} excerpt=${delivery.response_excerpt} /></div>`;
  return html`<p aria-busy="true">${t.test.sent}</p>`;
}

function SendTest({ endpoint, catalogue, isFirst }) {
  // The types that the endpoint subscribes to come first.
  const types = useMemo(() => {
    const isOn = (type) => isWanted(endpoint.events, type);
    return [...catalogue.filter(isOn), ...catalogue.filter((type) => !isOn(type))].map(({ event_type }) => event_type);
  }, [catalogue, endpoint]);
  const [chosen, choose] = useState(null);
  const [delivery, setDelivery] = useState(null);
  const [problem, setProblem] = useState(null);
  const event_type = chosen ?? types[0];
  async function send() {
    setDelivery(null);
    const { delivery_id } = await api.call("test_webhook", { endpoint_id: endpoint.id, event_type });
    setDelivery({ id: delivery_id, status: "pending" });
    await followTest(delivery_id, setDelivery);
  }
  return html`<section aria-label=${t.test.title}>
    <h2>${isFirst ? t.test.now : t.test.title}</h2>
    <div class="row">
      <${Choice} label=${t.test.event} value=${event_type} choose=${choose} options=${types.map((name) => [name, name])} />
      <${Action} act=${send} onProblem=${setProblem}>${t.test.send}<//>
    </div>
    <small>${t.test.about}</small>
    <${ProblemNote} problem=${problem} />
    <div role="status" aria-live="polite">${delivery && html`<${Answer} delivery=${delivery} />`}</div>
  </section>`;
}
