// Times, numbers and states as text; and names of the libraries, for the scripts that follow.
"use strict";

const { h, render, Component } = preact;
const { useState, useEffect, useRef, useMemo, useReducer, useId } = preactHooks;
const html = htm.bind(h);

/** The first language of the browser that the page has texts in. */
const language = navigator.languages.map((name) => name.split("-")[0]).find((name) => name in TEXTS) ?? "en";
const t = TEXTS[language];
document.documentElement.lang = language;

/** What the server has written into the head of the page. */
const meta = (name) => document.querySelector(`meta[name="webhook-${name}"]`).content;
/** The application's name and logo, from the server's settings. */
const [BRAND, LOGO] = [meta("name") || t.page.webhooks, meta("logo")];

const HOUR = 3_600_000;

/** Numbers and dates are written as the browser's language writes them. */
const format = (() => {
  const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  const withZone = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
  const hour = new Intl.DateTimeFormat(undefined, { weekday: "short", hour: "numeric", minute: "2-digit" });
  const relative = new Intl.RelativeTimeFormat(language, { numeric: "auto" });
  const count = new Intl.NumberFormat();
  const share = new Intl.NumberFormat(undefined, { style: "percent", maximumFractionDigits: 1 });
  const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

  const number = (value) => count.format(value);
  const at = (time) => (time ? moment.format(new Date(time)) : "");

  /** "5 minutes ago", "in 2 hours". */
  function ago(time) {
    const seconds = (new Date(time) - Date.now()) / 1000;
    const [unit, length] = UNITS.find(([, length]) => Math.abs(seconds) >= length) ?? UNITS.at(-1);
    return relative.format(Math.round(seconds / length), unit);
  }

  /** What an endpoint is doing, from its row and that of its health. */
  function state(endpoint, health) {
    const found = (name, text, detail = null) => ({ name, text, detail });
    if (!endpoint.is_active && endpoint.disabled_at)
      return found("disabled", t.state.disabled, t.state.disabledBecause(endpoint.disabled_reason, ago(endpoint.disabled_at)));
    if (!endpoint.is_active) return found("off", t.state.off, t.state.offDetail);
    if (health?.paused_at) return found("off", t.state.paused, t.state.pausedDetail(ago(health.paused_at)));
    if (!health?.failing_since) return found("active", t.state.active);
    if (!health.consecutive_failures) return found("retrying", t.state.retrying, t.state.retryingDetail(at(health.failing_since)));
    return found("failing", t.state.failing, t.state.failingDetail(health.consecutive_failures, at(health.failing_since)));
  }

  return {
    number, at, ago, state,
    exact: (time) => withZone.format(new Date(time)),
    /** A time as a field of type datetime-local has it. */
    local: (time) => new Date(new Date(time) - new Date(time).getTimezoneOffset() * 60_000).toISOString().slice(0, 16),
    hour: (time) => hour.format(new Date(time)),
    // Rounded down: 100 % means all.
    percent: (value) => (value == null ? t.common.none : share.format(Math.floor(value * 1000) / 1000)),
    milliseconds: (ms) => (ms == null ? "" : ms < 1000 ? `${number(ms)} ms` : `${number(Math.round(ms / 100) / 10)} s`),
    status: (status) => t.status[status] ?? status,
    /** JSON indented for reading; text that is not JSON stays as it is. */
    json(text) {
      try {
        return JSON.stringify(JSON.parse(text), null, 2);
      } catch {
        return text;
      }
    },
  };
})();
