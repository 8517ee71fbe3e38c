// Times, numbers and states as text; and names of the libraries, for the scripts that follow.
"use strict";

const { h, render, Component } = preact;
const { useState, useEffect, useRef, useMemo, useReducer, useId } = preactHooks;
const html = htm.bind(h);

const words = (() => {
  const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  const count = new Intl.NumberFormat("en");
  const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

  /** "5 minutes ago", "in 2 hours". */
  function ago(time) {
    const seconds = (new Date(time) - Date.now()) / 1000;
    const [unit, length] = UNITS.find(([, length]) => Math.abs(seconds) >= length) ?? UNITS.at(-1);
    return relative.format(Math.round(seconds / length), unit);
  }

  const plural = (number, one, many = `${one}s`) => `${count.format(number)} ${number === 1 ? one : many}`;

  /** What an endpoint is doing, from its row and that of its health. */
  function state(endpoint, health) {
    if (!endpoint.is_active && endpoint.disabled_at)
      return { name: "disabled", text: "Disabled after failures", detail: `${endpoint.disabled_reason} (${ago(endpoint.disabled_at)})` };
    if (!endpoint.is_active) return { name: "off", text: "Turned off", detail: "Events that happen while it is turned off are not kept for it." };
    if (health?.paused_at)
      return { name: "off", text: "Paused", detail: `The operator paused deliveries to it ${ago(health.paused_at)}. Events are kept, and sent when it is resumed.` };
    if (health?.failing_since) {
      const since = `since ${at(health.failing_since)}`;
      if (!health.consecutive_failures) return { name: "retrying", text: "Retrying", detail: `Attempts have failed ${since}, and are being retried.` };
      const failures = plural(health.consecutive_failures, "delivery has", "deliveries have");
      return { name: "failing", text: "Failing", detail: `${failures} failed in a row ${since}.` };
    }
    return { name: "active", text: "Active", detail: null };
  }

  const at = (time) => (time ? moment.format(new Date(time)) : "");
  const STATUS = { pending: "Pending", retrying: "Retrying", success: "Delivered", failed: "Failed" };

  return {
    ago, at, plural, state,
    number: (value) => count.format(value),
    percent: (share) => (share == null ? "\u2013" : `${Math.floor(share * 1000) / 10} %`),
    milliseconds: (ms) => (ms == null ? "" : ms < 1000 ? `${ms} ms` : `${(ms / 1000).toFixed(1)} s`),
    status: (status) => STATUS[status] ?? status,
    /** JSON that a person can read; what is none stays as it is. */
    json(text) {
      try {
        return JSON.stringify(JSON.parse(text), null, 2);
      } catch {
        return text;
      }
    },
  };
})();
