// Sending a test to an endpoint.
"use strict";

/** Until it has ended, and a little longer than a request may take. */
async function outcome(id, told) {
  const deadline = Date.now() + 40_000;
  for (;;) {
    const [delivery] = await api.rows("webhook_deliveries", { id: `eq.${id}`, select: COLUMNS });
    if (delivery) told(delivery);
    if (delivery && hasEnded(delivery)) return;
    if (Date.now() > deadline)
      throw new Problem("The test is still waiting.", "The server is busy or paused. It is in the history as soon as it has an answer.");
    await new Promise((resolve) => setTimeout(resolve, 150));
  }
}

function Answer({ delivery }) {
  const after = words.milliseconds(delivery.response_time_ms);
  if (delivery.status === "success")
    return html`<p class="note good"><${Badge} name="success">Delivered<//> Answered ${delivery.response_status_code} after ${after}.</p>`;
  if (delivery.status === "failed")
    return html`<p class="note bad"><${Badge} name="failed">Failed<//> <strong>${delivery.error_message}</strong>, after ${after}.</p>`;
  return html`<p aria-busy="true">Sent; waiting for the answer\u2026</p>`;
}

function Trial({ endpoint, catalogue, isFirst }) {
  // First those that it wants.
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
    await outcome(delivery_id, setDelivery);
  }
  return html`<section class="trial" aria-label="Test">
    <h2>${isFirst ? "Now test it" : "Test"}</h2>
    <div class="row">
      <${Choice} label="Event" value=${event_type} choose=${choose} options=${types.map((name) => [name, name])} />
      <${Action} act=${send} onProblem=${setProblem}>Send test<//>
    </div>
    <small>Sends the catalogue's example, signed as any other, once. It works while the endpoint is turned off, too.</small>
    <${ProblemNote} problem=${problem} />
    <div role="status" aria-live="polite">${delivery && html`<${Answer} delivery=${delivery} />`}</div>
  </section>`;
}
