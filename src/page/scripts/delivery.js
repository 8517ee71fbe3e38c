// One delivery: the request, and the answer to each attempt.
"use strict";

function Attempt({ attempt }) {
  return html`<li>
    <${Badge} name=${attempt.status}>${words.status(attempt.status)}<//>
    <span>Attempt ${attempt.attempt}, ${words.at(attempt.attempted_at)}</span>
    <span>${attempt.error_message ? html`<span class="error">${attempt.error_message}</span>` : `status ${attempt.response_status_code}`},
      after ${words.milliseconds(attempt.response_time_ms)}</span>
    ${attempt.response_excerpt && html`<details><summary>What was answered</summary><pre tabindex="0">${attempt.response_excerpt}</pre></details>`}
    ${attempt.next_attempt_at && html`<small>The next was due ${words.at(attempt.next_attempt_at)}.</small>`}
  </li>`;
}

function Attempts({ attempts }) {
  if (!attempts.length) return html`<p>None was made yet.</p>`;
  return html`<ol class="attempts">${attempts.map((attempt) => html`<${Attempt} key=${attempt.attempt} attempt=${attempt} />`)}</ol>`;
}

/**
 * The request as a command for a shell: a text in single quotes, in which only these are special. Without `--globoff`, curl
 * reads brackets and braces of a URL as a pattern of several.
 */
function asCurl({ url, headers, body }) {
  const quoted = (text) => `'${text.replace(/'/g, `'\\''`)}'`;
  const fields = Object.entries(headers).map(([name, value]) => `-H ${quoted(`${name}: ${value}`)}`);
  return ["curl --globoff -X POST", quoted(url), ...fields, "--data-raw", quoted(body)].join(" ");
}

/** All about one delivery; loaded anew whenever its row has changed. */
function Delivery({ delivery, changed }) {
  const event = useLoad((signal) => api.call("webhook_request", { delivery_id: delivery.id }, signal), [delivery]);
  async function again() {
    await api.call("redeliver_webhook", { delivery_id: delivery.id });
    notices.tell("It is being sent again, with the same id.");
    changed();
  }
  async function cancel() {
    await api.call("cancel_webhook", { delivery_id: delivery.id });
    notices.tell("It is cancelled.");
    changed();
  }
  return html`<div class="delivery">
    <p class="row">
      ${!delivery.is_test && html`<${Action} class="small" act=${again}>${hasEnded(delivery) ? "Send again" : "Send now"}<//>`}
      ${!hasEnded(delivery) && html`<${Action} class="small secondary" act=${cancel}>Cancel this delivery<//>`}
      <small>webhook_id <code>${delivery.id}</code>${delivery.is_test && ", a test"}</small>
      <${Copy} text=${delivery.id} what="id" />
      <${Copy} text=${`${location.href.split("#")[0]}#/history?id=${delivery.id}&open=${delivery.id}`} what="link" />
    </p>
    ${delivery.next_attempt_at && html`<p>The next attempt is due ${words.ago(delivery.next_attempt_at)}, ${words.at(delivery.next_attempt_at)}.</p>`}
    <${Loaded} of=${event} what="what was sent">${(sent) => html`
      <h4>Attempts</h4>
      <${Attempts} attempts=${sent.attempts} />
      <h4>Request</h4>
      ${sent.url ? html`<p class="row"><code>POST ${sent.url}</code>
          ${sent.headers && sent.body != null && html`<${Copy} text=${asCurl(sent)} what="as cURL" />`}</p>` : html`<p>The endpoint was deleted.</p>`}
      ${sent.headers && html`<details open><summary>Headers</summary>
        <pre tabindex="0">${Object.entries(sent.headers).map(([name, value]) => `${name}: ${value}`).join("\n")}</pre></details>`}
      ${sent.body == null
        ? html`<p>The event was deleted.</p>`
        : html`<details open><summary>Payload</summary><pre tabindex="0" class="payload">${words.json(sent.body)}</pre>
            <${Copy} text=${sent.body} what="payload as sent" /></details>`}
      ${sent.verify && html`<details><summary>How to verify it by hand</summary><p>${sent.verify}</p></details>`}`}<//>
  </div>`;
}
