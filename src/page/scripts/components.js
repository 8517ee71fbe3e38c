// Components that all views share: loading, buttons, notes, dialogs.
"use strict";

/**
 * What `load` gives, loaded anew when one of `deps` changes, by `reload()`, and while the page can be seen `every` so many
 * milliseconds, or less often where it takes long: a page that lies open keeps no session busy. What was there stays until the
 * next has come.
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

/** A button that does something which takes a while: it says so meanwhile, and `onProblem` hears what went wrong. */
function Action({ act, onProblem, children, class: className, type, disabled, label }) {
  const [isBusy, setBusy] = useState(false);
  async function press(event) {
    event.preventDefault();
    setBusy(true);
    onProblem?.(null);
    try {
      await act();
    } catch (problem) {
      if (problem.name !== "AbortError") (onProblem ?? notices.tell)(problem);
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

function ProblemNote({ problem, retry }) {
  if (!problem) return null;
  return html`<div class="note bad" role="alert">
    <strong>${problem.message}</strong>${problem.hint && html` <span>${problem.hint}</span>`}
    ${retry && html` <button type="button" class="small outline" onClick=${retry}>Try again</button>`}
  </div>`;
}

/** What is loading, what went wrong, or what came. */
function Loaded({ of, what, children }) {
  if (of.data === undefined && of.problem) return html`<${ProblemNote} problem=${of.problem} retry=${of.reload} />`;
  if (of.data === undefined) return html`<p aria-busy="true" role="status">Loading ${what}\u2026</p>`;
  return html`<${ProblemNote} problem=${of.problem} retry=${of.reload} />${children(of.data)}`;
}

const Badge = ({ name, children }) => html`<span class="badge ${name}">${children}</span>`;

function Copy({ text, what }) {
  const [isDone, setDone] = useState(false);
  async function copy() {
    try {
      await navigator.clipboard.writeText(text);
      setDone(true);
      setTimeout(() => setDone(false), 2000);
    } catch {
      notices.tell(new Problem("The browser does not let this page copy.", "Select the text and copy it yourself."));
    }
  }
  return html`<button type="button" class="small outline" onClick=${copy}>${isDone ? "Copied" : `Copy ${what}`}</button>`;
}

/** A secret that nobody will see again. */
function SecretOnce({ secret, done }) {
  return html`<section class="note once" aria-label="Signing secret">
    <p><strong>The signing secret.</strong> Copy it now into your receiver: it is shown this once.</p>
    <p class="row"><code class="secret">${secret}</code> <${Copy} text=${secret} what="secret" /></p>
    <button type="button" class="small secondary" onClick=${done}>I have stored it</button>
  </section>`;
}

/** A question above everything else, which Escape answers with no. */
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
        <button type="button" class="secondary" onClick=${close}>Cancel</button>
        <${Action} class=${isDanger ? "danger" : ""} act=${act} onProblem=${setProblem}>${yes}<//>
      </footer>
    </article>
  </dialog>`;
}

/** What has happened, told at the edge of the page and to screen readers. */
const notices = (() => {
  let show = () => {};
  return {
    tell: (notice) => show(typeof notice === "string" ? { text: notice } : { text: notice.message, hint: notice.hint, isBad: true }),
    View() {
      const [notice, set] = useState(null);
      show = set;
      useEffect(() => {
        if (!notice) return;
        const timer = setTimeout(() => set(null), notice.isBad ? 15_000 : 4_000);
        return () => clearTimeout(timer);
      }, [notice]);
      return html`<div class="notices" role="status">${notice && html`<p class="note ${notice.isBad ? "bad" : "good"}">
        ${notice.text} ${notice.hint} <button type="button" class="small outline" onClick=${() => set(null)}>Close</button></p>`}</div>`;
    },
  };
})();
