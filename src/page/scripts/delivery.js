// One delivery: its request, and the response to each attempt.
"use strict";

function ResponseBody({ excerpt }) {
  return excerpt ? html`<details><summary>${t.delivery.response}</summary><pre tabindex="0">${excerpt}</pre></details>` : null;
}

function Attempt({ attempt }) {
  const isAnswered = attempt.response_status_code != null && !attempt.error_message;
  return html`<li>
    <${Badge} name=${attempt.status}>${format.status(attempt.status)}<//>
    <span>${t.delivery.attempt(attempt.attempt, format.at(attempt.attempted_at))}</span>
    <span>${isAnswered ? t.delivery.status(attempt.response_status_code) : html`<span class="error">${attempt.error_message}</span>`}${
      t.delivery.after(format.milliseconds(attempt.response_time_ms))}</span>
    <${ResponseBody} excerpt=${attempt.response_excerpt} />
    ${attempt.next_attempt_at && html`<small>${t.delivery.nextWasDue(format.at(attempt.next_attempt_at))}</small>`}
  </li>`;
}

function Attempts({ attempts }) {
  if (!attempts.length) return html`<p>${t.delivery.noAttempts}</p>`;
  return html`<ol class="attempts">${attempts.map((attempt) => html`<${Attempt} key=${attempt.attempt} attempt=${attempt} />`)}</ol>`;
}

/**
 * The request as a shell command: single quotes protect everything but themselves. Without `--globoff`, curl expands brackets and
 * braces of a URL to several URLs.
 */
function asCurl({ url, headers, body }) {
  const quoted = (text) => `'${text.replace(/'/g, `'\\''`)}'`;
  const fields = Object.entries(headers).map(([name, value]) => `-H ${quoted(`${name}: ${value}`)}`);
  return ["curl --globoff -X POST", quoted(url), ...fields, "--data-raw", quoted(body)].join(" ");
}

function Request({ url, headers, body, verify }) {
  return html`
    <h4>${t.delivery.request}</h4>
    ${url ? html`<p class="row"><code>POST ${url}</code>
        ${headers && body != null && html`<${Copy} text=${asCurl({ url, headers, body })} what=${t.delivery.copyCurl} />`}</p>` : html`<p>${t.delivery.endpointDeleted}</p>`}
    ${headers && html`<details open><summary>${t.delivery.headers}</summary>
      <pre tabindex="0">${Object.entries(headers).map(([name, value]) => `${name}: ${value}`).join("\n")}</pre></details>`}
    ${body == null
      ? html`<p>${t.delivery.eventDeleted}</p>`
      : html`<details open><summary>${t.delivery.payload}</summary><pre tabindex="0" class="payload">${format.json(body)}</pre>
          <${Copy} text=${body} what=${t.delivery.copyPayload} /></details>`}
    ${verify && html`<details><summary>${t.delivery.verify}</summary><p>${verify}</p></details>`}`;
}

/** All about one delivery; loaded again whenever its row has changed. */
function Delivery({ delivery, changed }) {
  const event = useLoad((signal) => api.call("webhook_request", { delivery_id: delivery.id }, signal), [delivery]);
  async function retry() {
    await api.call("redeliver_webhook", { delivery_id: delivery.id });
    notices.show(t.delivery.isRetried);
    changed();
  }
  async function cancel() {
    await api.call("cancel_webhook", { delivery_id: delivery.id });
    notices.show(t.delivery.isCancelled);
    changed();
  }
  const { sendAgain, retry: retryText, retryNow } = t.delivery;
  return html`<div class="delivery">
    <p class="row">
      ${!delivery.is_test && html`<${Action} class="small" act=${retry}>${{ success: sendAgain, failed: retryText }[delivery.status] ?? retryNow}<//>`}
      ${!hasEnded(delivery) && html`<${Action} class="small secondary" act=${cancel}>${t.delivery.cancel}<//>`}
      <small>webhook_id <code>${delivery.id}</code>${delivery.is_test && t.delivery.aTest}</small>
      <${Copy} text=${delivery.id} what=${t.delivery.copyId} />
      <${Copy} text=${`${location.href.split("#")[0]}#/history?id=${delivery.id}&open=${delivery.id}`} what=${t.delivery.copyLink} />
    </p>
    ${delivery.next_attempt_at && html`<p>${t.delivery.nextDue(format.ago(delivery.next_attempt_at), format.at(delivery.next_attempt_at))}</p>`}
    <${Loaded} of=${event} what=${t.delivery.loading}>${(sent) => html`
      <h4>${t.delivery.attempts}</h4>
      <${Attempts} attempts=${sent.attempts} />
      <${Request} ...${sent} />`}<//>
  </div>`;
}
