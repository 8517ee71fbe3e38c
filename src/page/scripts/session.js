// The token of the session, and how it is renewed.
"use strict";

/**
 * The token is handed over by the page that shows this one in a frame, found where supabase-js keeps it on the same site, or typed.
 * It stays in memory: nothing here stores it. In a frame of another site it is handed over by a site that may, or there is none: so
 * nobody else's page has a visitor press our buttons under something that it shows.
 */
const session = (() => {
  const meta = (name) => document.querySelector(`meta[name="${name}"]`).content;
  const trusted = [location.origin, ...meta("webhook-origins").split(" ").filter(Boolean)];
  const isFramed = window.parent !== window;
  const isGuest = isFramed && !isOfThisSite(window.parent);
  const watchers = new Set();
  let current = { token: null, apikey: new URLSearchParams(location.search).get("apikey"), hasExpired: false, wasAccepted: false };

  function isOfThisSite(other) {
    try {
      return other.location.origin === location.origin;
    } catch {
      return false;
    }
  }

  function become(change) {
    current = { ...current, ...change };
    for (const watcher of [...watchers]) watcher(current);
  }

  /** The session that supabase-js has stored for this site and that lasts longest. */
  function stored() {
    if (isGuest) return null;
    let best = null;
    try {
      for (const key of Object.keys(localStorage).filter((key) => /^sb-.+-auth-token$/.test(key))) {
        const found = JSON.parse(localStorage.getItem(key));
        if (typeof found?.access_token === "string" && found.expires_at * 1000 > Date.now() && !(best?.expires_at >= found.expires_at)) best = found;
      }
    } catch {
      // Storage that is closed to us, or somebody else's under that name: then the token is typed.
    }
    return best?.access_token ?? null;
  }

  function take(token, apikey) {
    const isRefused = token === current.token && current.hasExpired;
    if (token && !isRefused) become({ token, apikey: apikey ?? current.apikey, hasExpired: false });
  }

  addEventListener("message", ({ source, origin, data }) => {
    const isFromParent = isFramed && source === window.parent && trusted.includes(origin);
    if (isFromParent && typeof data?.access_token === "string") take(data.access_token, typeof data.apikey === "string" ? data.apikey : null);
  });
  addEventListener("storage", () => {
    const token = stored();
    if (token && token !== current.token) take(token);
  });

  /** Asks whoever may have one for a token. What it says is no secret, so anybody may hear it. */
  function ask() {
    if (isFramed) window.parent.postMessage({ webhook_admin: "token" }, "*");
    const token = stored();
    if (token !== current.token) take(token);
  }
  ask();

  return {
    isFramed,
    isGuest,
    get: () => current,
    take,
    leave: () => become({ token: null, hasExpired: false, wasAccepted: false }),
    /** The server has accepted the token. */
    accept: () => (current.wasAccepted ||= true),
    watch(watcher) {
      watchers.add(watcher);
      return () => watchers.delete(watcher);
    },
    /** Resolves as soon as there is another token than this one, which the server has refused. */
    replaced(refused, signal) {
      if (current.token === refused && !current.hasExpired) {
        become({ hasExpired: true });
        ask();
      }
      return new Promise((resolve, reject) => {
        const unwatch = this.watch(({ token }) => token !== refused && done(token));
        const done = (token) => {
          unwatch();
          token ? resolve(token) : reject(new DOMException("signed out", "AbortError"));
        };
        signal?.addEventListener("abort", () => (unwatch(), reject(signal.reason)));
        if (current.token !== refused) done(current.token);
      });
    },
  };
})();
