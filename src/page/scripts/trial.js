// Does the endpoint answer a test?
"use strict";

/** Until it has ended, and a little longer than a request may take. */
async function outcome(id, told) {
  const deadline = Date.now() + 40_000;
  for (;;) {
    const [delivery] = await api.rows("webhook_deliveries", { id: `eq.${id}`, select: COLUMNS });
    if (delivery) told(delivery);
    if (["success", "failed"].includes(delivery?.status)) return;
    if (Date.now() > deadline) throw new Problem("The test is still waiting.", "The server is busy or paused. It is in the history as soon as it has an answer.");
    await new Promise((resolve) => setTimeout(resolve, 150));
  }
}

function Answer({ delivery }) {
  if (delivery.status === "success")
    return html`<p class="note good"><${Badge} name="success">Delivered<//> Answered ${delivery.response_status_code} after ${words.milliseconds(delivery.response_time_ms)}.</p>`;
  if (delivery.status === "failed")
    return html`<p class="note bad"><${Badge} name="failed">Failed<//> <strong>${delivery.error_message}</strong>, after ${words.milliseconds(delivery.response_time_ms)}.</p>`;
  return html`<p aria-busy="true">Sent; waiting for the answer…</p>`;
}

function Trial({ endpoint, catalogue, isFirst }) {
  const types = useMemo(() => [...catalogue].sort((one, other) => isWanted(endpoint.events, other) - isWanted(endpoint.events, one)), [catalogue, endpoint]);
  const [chosen, choose] = useState(null);
  const [delivery, setDelivery] = useState(null);
  const [problem, setProblem] = useState(null);
  const event_type = chosen ?? types[0]?.event_type;
  async function send() {
    setDelivery(null);
    const { delivery_id } = await api.call("test_webhook", { endpoint_id: endpoint.id, event_type });
    setDelivery({ id: delivery_id, status: "pending" });
    await outcome(delivery_id, setDelivery);
  }
  return html`<section class="trial" aria-label="Test">
    <h2>${isFirst ? "Now test it" : "Test"}</h2>
    <div class="row">
      <label>Event <select value=${event_type} onChange=${(event) => choose(event.target.value)}>
        ${types.map((type) => html`<option value=${type.event_type}>${type.event_type}</option>`)}</select></label>
      <${Action} act=${send} onProblem=${setProblem}>Send test<//>
    </div>
    <small>Sends the catalogue's example, signed as any other, once. It works while the endpoint is off, too.</small>
    <${ProblemNote} problem=${problem} />
    <div role="status" aria-live="polite">${delivery && html`<${Answer} delivery=${delivery} />`}</div>
  </section>`;
}
