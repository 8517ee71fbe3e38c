// Components that all views share: loading, buttons, fields, notes, dialogs.
"use strict";

/**
 * What `load` returns, loaded again when one of `deps` changes, by `reload()`, and every `every` milliseconds while the page is
 * visible; less often if loading takes long, so that an open page keeps no session busy. The last result stays until the next one.
 */
function useLoad(load, deps, every) {
  const [state, set] = useState({ data: undefined, problem: null, isLoading: true });
  const [turn, reload] = useReducer((turn) => turn + 1, 0);
  useEffect(() => {
    const ended = new AbortController();
    let timer;
    async function run() {
      const began = Date.now();
      set((before) => ({ ...before, isLoading: true }));
      try {
        const data = await load(ended.signal);
        if (!ended.signal.aborted) set({ data, problem: null, isLoading: false });
      } catch (problem) {
        if (!ended.signal.aborted) set((before) => ({ ...before, problem, isLoading: false }));
      }
      if (every && !ended.signal.aborted) timer = setTimeout(tick, Math.max(every, 20 * (Date.now() - began)));
    }
    function tick() {
      if (document.hidden) timer = setTimeout(tick, every);
      else run();
    }
    run();
    return () => {
      ended.abort();
      clearTimeout(timer);
    };
  }, [...deps, turn]);
  return { ...state, reload };
}

/** A button whose action takes a while: it shows that it is busy, and `onProblem` receives an error. */
function Action({ act, onProblem, children, class: className, type, disabled, label }) {
  const [isBusy, setBusy] = useState(false);
  async function press(event) {
    event.preventDefault();
    setBusy(true);
    onProblem?.(null);
    try {
      await act();
    } catch (problem) {
      if (problem.name !== "AbortError") (onProblem ?? notices.show)(problem);
    } finally {
      setBusy(false);
    }
  }
  return html`<button type=${type ?? "button"} class=${className} aria-busy=${isBusy ? "true" : null} aria-label=${label}
    disabled=${disabled || isBusy} onClick=${press}>${children}</button>`;
}

/** A select with its label. `options`: pairs of a value and its text, or groups of them: { group, options }. */
function Choice({ label, value, choose, options }) {
  const one = ([value, text]) => html`<option value=${value}>${text}</option>`;
  return html`<label>${label} <select value=${value} onChange=${(event) => choose(event.target.value)}>
    ${options.map((option) => (option.group ? html`<optgroup label=${option.group}>${option.options.map(one)}</optgroup>` : one(option)))}
  </select></label>`;
}

/** Buttons of which one is pressed. `options`: pairs of a value and its text. */
function Toggle({ label, value, choose, options }) {
  return html`<span class="choice" role="group" aria-label=${label}>${options.map(([name, text]) => html`<button type="button"
    class="small ${name === value ? "" : "outline"}" aria-pressed=${String(name === value)} onClick=${() => choose(name)}>${text}</button>`)}</span>`;
}

/** A search field; views filter what they show by its text in lower case. */
function Search({ label, value, change }) {
  return html`<label>${label} <input type="search" value=${value} onInput=${(event) => change(event.target.value)} /></label>`;
}

const matches = (search, ...texts) => texts.some((text) => text?.toLowerCase().includes(search.trim().toLowerCase()));

/** Instead of a list of which nothing matches. */
function NoMatch({ text, clear }) {
  return html`<p class="row">${text} <button type="button" class="small outline" onClick=${clear}>${t.common.clearFilters}</button></p>`;
}

const asText = ({ message, hint }) => (hint ? `${message}${/[.!?]$/.test(message) ? "" : "."} ${hint}` : message);

/** A labelled field of a form: `control` draws the input with the attributes that refer to the help or error below it. */
function Field({ label, help, problem, control, children }) {
  const id = useId();
  return html`<label>${label}${control({ "aria-invalid": problem ? "true" : null, "aria-describedby": id })}${children}
    <small id=${id} class=${problem ? "error" : ""} role=${problem ? "alert" : null}>${problem ? asText(problem) : help}</small></label>`;
}

function ProblemNote({ problem, retry }) {
  if (!problem) return null;
  return html`<div class="note bad" role="alert">
    <strong>${problem.message}</strong>${problem.hint && html` <span>${problem.hint}</span>`}
    ${retry && html` <button type="button" class="small outline" onClick=${retry}>${t.common.tryAgain}</button>`}
  </div>`;
}

/** That it is loading, why it failed, or the result. */
function Loaded({ of, what, children }) {
  if (of.data === undefined && of.problem) return html`<${ProblemNote} problem=${of.problem} retry=${of.reload} />`;
  if (of.data === undefined) return html`<p aria-busy="true" role="status">${t.common.loading(what)}</p>`;
  return html`<${ProblemNote} problem=${of.problem} retry=${of.reload} />${children(of.data)}`;
}

const Badge = ({ name, children }) => html`<span class="badge ${name}">${children}</span>`;

/** Redraws relative times while the page is open. */
const clock = (() => {
  const watchers = new Set();
  setInterval(() => document.hidden || watchers.forEach((watcher) => watcher()), 30_000);
  return (watcher) => (watchers.add(watcher), () => watchers.delete(watcher));
})();

/** How long ago a time was, with the exact time and its zone as a tooltip. */
function Ago({ time }) {
  const [, redraw] = useReducer((turn) => turn + 1, 0);
  useEffect(() => clock(redraw), []);
  return html`<time datetime=${time} title=${format.exact(time)}>${format.ago(time)}</time>`;
}

function Copy({ text, what }) {
  const [isDone, setDone] = useState(false);
  async function copy() {
    try {
      await navigator.clipboard.writeText(text);
      setDone(true);
      setTimeout(() => setDone(false), 2000);
    } catch {
      notices.show(new Problem(t.common.cannotCopy, t.common.copyYourself));
    }
  }
  return html`<button type="button" class="small outline" onClick=${copy}>${isDone ? t.common.copied : t.common.copy(what)}</button>`;
}

/** A secret that is not shown again. */
function SecretOnce({ secret, done }) {
  return html`<section class="note once" aria-label=${t.secret.label}>
    <p><strong>${t.secret.once}</strong> ${t.secret.copyNow}</p>
    <p class="row"><code class="secret">${secret}</code> <${Copy} text=${secret} what=${t.secret.copyWhat} /></p>
    <button type="button" class="small secondary" onClick=${done}>${t.secret.stored}</button>
  </section>`;
}

/** A question above everything else; Escape cancels. Without `act` there is nothing to confirm. */
function Question({ title, children, yes, act, close, isDanger }) {
  const dialog = useRef();
  const [problem, setProblem] = useState(null);
  const id = useId();
  useEffect(() => dialog.current.showModal(), []);
  const leave = (event) => (event.preventDefault(), close());
  return html`<dialog ref=${dialog} onCancel=${leave} onClose=${close} aria-labelledby=${id}>
    <article>
      <h3 id=${id}>${title}</h3>
      ${children}
      <${ProblemNote} problem=${problem} />
      <footer>
        <button type="button" class="secondary" onClick=${close}>${act ? t.common.cancel : t.common.close}</button>
        ${act && html`<${Action} class=${isDanger ? "danger" : ""} act=${act} onProblem=${setProblem}>${yes}<//>`}
      </footer>
    </article>
  </dialog>`;
}

/** What has happened, at the edge of the page and for screen readers. */
const notices = (() => {
  let display = () => {};
  return {
    /** Shows a text or a Problem. */
    show: (notice) => display(typeof notice === "string" ? { text: notice } : { text: asText(notice), isBad: true }),
    View() {
      const [notice, set] = useState(null);
      display = set;
      useEffect(() => {
        if (!notice) return;
        const timer = setTimeout(() => set(null), notice.isBad ? 15_000 : 4_000);
        return () => clearTimeout(timer);
      }, [notice]);
      return html`<div class="notices" role="status">${notice && html`<p class="note ${notice.isBad ? "bad" : "good"}">
        ${notice.text} <button type="button" class="small outline" onClick=${() => set(null)}>${t.common.close}</button></p>`}</div>`;
    },
  };
})();
