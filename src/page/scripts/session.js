// The token of the session, and how it is renewed.
"use strict";

/**
 * The token comes from the page that shows this one in a frame, from where supabase-js keeps it on the same site, or is typed. It
 * stays in memory, unless the user chooses to keep a typed one for as long as the tab is open. In a frame of another site it comes
 * from a site that the operator trusts, or there is none: no other page can make a visitor press our buttons below its own.
 */
const session = (() => {
  const KEPT = "webhook-admin-session";
  const trusted = [location.origin, ...meta("origins").split(" ").filter(Boolean)];
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

  /** The token that supabase-js has stored for this site and that lasts longest. */
  function stored() {
    if (isGuest) return null;
    let best = null;
    try {
      for (const key of Object.keys(localStorage).filter((key) => /^sb-.+-auth-token$/.test(key))) {
        const found = JSON.parse(localStorage.getItem(key));
        if (typeof found?.access_token === "string" && found.expires_at * 1000 > Date.now() && !(best?.expires_at >= found.expires_at)) best = found;
      }
    } catch {
      // The browser denies access to the storage, or another program uses such a key: the token is typed.
    }
    return best?.access_token ?? null;
  }

  /** What the user has chosen to keep for this tab: { token, apikey }, or null. */
  const kept = {
    read() {
      try {
        return isGuest ? null : JSON.parse(sessionStorage.getItem(KEPT));
      } catch {
        return null;
      }
    },
    write(value) {
      try {
        if (value) sessionStorage.setItem(KEPT, JSON.stringify(value));
        else sessionStorage.removeItem(KEPT);
      } catch {
        // The browser denies access to the storage: a reload asks for the token again.
      }
    },
  };

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

  /** Asks for a token where there may be one. The question contains no secret, so any parent may receive it. */
  function ask() {
    if (isFramed) window.parent.postMessage({ webhook_admin: "token" }, "*");
    const token = stored();
    if (token !== current.token) take(token);
  }
  ask();
  if (!current.token) take(kept.read()?.token, kept.read()?.apikey);

  return {
    isFramed,
    isGuest,
    get: () => current,
    /** Signs in with a typed token; `isKept`: also after a reload of this tab. */
    signIn(token, apikey, isKept) {
      kept.write(isKept ? { token, apikey } : null);
      take(token, apikey);
    },
    signOut() {
      kept.write(null);
      become({ token: null, hasExpired: false, wasAccepted: false });
    },
    /** The server has accepted the token. */
    accept: () => (current.wasAccepted ||= true),
    watch(watcher) {
      watchers.add(watcher);
      return () => watchers.delete(watcher);
    },
    /** Resolves as soon as there is another token than this one, which the server has refused. */
    replaced(refused, signal) {
      if (current.token === refused && !current.hasExpired) {
        kept.write(null);
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
