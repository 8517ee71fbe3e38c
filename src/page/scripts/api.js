// Calls to the REST server.
"use strict";

/** What the server says is wrong, or what is wrong with the way to it. `hint`: what to do. */
class Problem extends Error {
  constructor(message, hint, status) {
    super(message);
    this.hint = hint;
    this.status = status;
  }
}

const api = (() => {
  const PATIENCE = 30_000;
  const base = document.querySelector('meta[name="webhook-api"]').content || new URL("..", location.href).href.replace(/\/$/, "");

  async function ask(method, path, body, signal) {
    const { token, apikey } = session.get();
    const headers = { Authorization: `Bearer ${token}`, Accept: "application/json", Prefer: "return=representation" };
    if (apikey) headers.apikey = apikey;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const patience = AbortSignal.timeout(PATIENCE);
    let response;
    let text;
    try {
      const request = { method, headers, signal: signal ? AbortSignal.any([signal, patience]) : patience, credentials: "omit", cache: "no-store" };
      response = await fetch(base + path, { ...request, body: body === undefined ? undefined : JSON.stringify(body) });
      text = await response.text();
    } catch (problem) {
      if (signal?.aborted) throw problem;
      if (patience.aborted) throw new Problem(`The server has not answered for ${PATIENCE / 1000} seconds.`, "Try again.");
      throw new Problem("The server cannot be reached.", "Is the connection up? Try again.");
    }
    if (response.status === 401) {
      // Whoever called knows nothing of it: the call is made again with the next token.
      await session.replaced(token, signal);
      return ask(method, path, body, signal);
    }
    session.accept();
    let answer = null;
    try {
      answer = text && JSON.parse(text);
    } catch {
      if (response.ok) throw new Problem("The server has answered something that is no JSON.", "Is a REST server at this address?", response.status);
    }
    if (response.ok) return answer;
    throw new Problem(answer?.message ?? `The server has answered ${response.status}.`, answer?.hint, response.status);
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
      if (!row) throw new Problem("It is not there any more.", "Somebody has deleted it.", 404);
      return row;
    },
    remove: (relation, id) => ask("DELETE", `/${relation}${query({ id: `eq.${id}` })}`),
    call: (name, values, signal) => ask("POST", `/rpc/${name}`, values, signal),
  };
})();
