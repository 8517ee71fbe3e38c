// Calls to the REST server.
"use strict";

/** An error of the server or of the connection to it. `hint`: what to do; `field`: the field of a form that it is about. */
class Problem extends Error {
  constructor(message, hint, { status, field } = {}) {
    super(message);
    this.hint = hint;
    this.status = status;
    this.field = field;
  }
}

const api = (() => {
  const TIMEOUT = 30_000;
  const base = meta("api") || new URL("..", location.href).href.replace(/\/$/, "");

  async function ask(method, path, body, signal) {
    const { token, apikey } = session.get();
    const headers = { Authorization: `Bearer ${token}`, Accept: "application/json", Prefer: "return=representation" };
    if (apikey) headers.apikey = apikey;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const timeout = AbortSignal.timeout(TIMEOUT);
    let response;
    let text;
    try {
      const request = { method, headers, signal: signal ? AbortSignal.any([signal, timeout]) : timeout, credentials: "omit", cache: "no-store" };
      response = await fetch(base + path, { ...request, body: body === undefined ? undefined : JSON.stringify(body) });
      text = await response.text();
    } catch (problem) {
      if (signal?.aborted) throw problem;
      if (timeout.aborted) throw new Problem(t.server.noAnswer(TIMEOUT / 1000), t.server.tryAgain);
      throw new Problem(t.server.unreachable, t.server.isConnected);
    }
    if (response.status === 401) {
      // The caller does not notice: the call is made again with the next token.
      await session.replaced(token, signal);
      return ask(method, path, body, signal);
    }
    session.accept();
    let answer = null;
    try {
      answer = text && JSON.parse(text);
    } catch {
      if (response.ok) throw new Problem(t.server.notJson, t.server.isRest, response);
    }
    if (response.ok) return answer;
    throw new Problem(answer?.message ?? t.server.status(response.status), answer?.hint, response);
  }

  const query = (parameters) => {
    const all = new URLSearchParams(parameters).toString();
    return all && `?${all}`;
  };

  return {
    /** Rows of a table or view. Parameters as PostgREST takes them, as an object or as pairs. */
    rows: (relation, parameters = {}, signal) => ask("GET", `/${relation}${query(parameters)}`, undefined, signal),
    insert: async (relation, row, parameters = {}) => (await ask("POST", `/${relation}${query(parameters)}`, row))[0],
    async update(relation, id, change) {
      const [row] = await ask("PATCH", `/${relation}${query({ id: `eq.${id}` })}`, change);
      if (!row) throw new Problem(t.server.gone, t.server.deletedMeanwhile);
      return row;
    },
    remove: (relation, id) => ask("DELETE", `/${relation}${query({ id: `eq.${id}` })}`),
    call: (name, values, signal) => ask("POST", `/rpc/${name}`, values, signal),
  };
})();
