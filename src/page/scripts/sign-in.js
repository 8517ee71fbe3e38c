// Signing in with a token.
"use strict";

/** The role in a token's claims; null if it is not a JWT. */
function roleOf(token) {
  try {
    return JSON.parse(atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/"))).role ?? null;
  } catch {
    return null;
  }
}

/** Title and text of the form: why it asks for a token. */
function reasonOf(hasExpired) {
  if (!hasExpired) return [t.signIn.signIn, t.signIn.reason];
  return session.get().wasAccepted ? [t.signIn.ended, t.signIn.endedReason] : [t.signIn.refused, t.signIn.refusedReason];
}

function SignIn({ hasExpired }) {
  const [token, setToken] = useState("");
  const [apikey, setKey] = useState(session.get().apikey ?? "");
  const [isKept, setKept] = useState(false);
  const [isAnonymous, setAnonymous] = useState(false);
  const [title, reason] = reasonOf(hasExpired);
  const submit = (event) => {
    event.preventDefault();
    const given = token.trim().replace(/^Bearer /i, "");
    setAnonymous(roleOf(given) === "anon");
    if (roleOf(given) !== "anon") session.signIn(given, apikey.trim() || null, isKept);
  };
  if (session.isGuest) return html`<p aria-busy="true" role="status">${t.signIn.waiting}</p>`;
  return html`<form onSubmit=${submit} aria-label=${t.signIn.signIn}>
    <h2>${title}</h2>
    <p>${reason}</p>
    ${isAnonymous && html`<p class="note bad" role="alert"><strong>${t.signIn.anonymous}</strong> ${t.signIn.anonymousReason}</p>`}
    <label>${t.signIn.token}
      <input type="password" required autocomplete="off" value=${token} onInput=${(event) => setToken(event.target.value)} />
      <small>${t.signIn.tokenHelp}</small></label>
    <label><input type="checkbox" checked=${isKept} onChange=${(event) => setKept(event.target.checked)} /> ${t.signIn.keep}
      <small>${t.signIn.keepHelp}</small></label>
    <details><summary>${t.signIn.gateway}</summary>
      <label>${t.signIn.apikey} <input autocomplete="off" value=${apikey} onInput=${(event) => setKey(event.target.value)} />
        <small>${t.signIn.apikeyHelp}</small></label></details>
    <div class="row"><button type="submit">${t.signIn.signIn}</button>
      ${hasExpired && html`<button type="button" class="secondary" onClick=${session.signOut}>${t.signIn.signOut}</button>`}</div>
  </form>`;
}

/** Above the page, which stays as it is until there is another token. */
function Expired() {
  const dialog = useRef();
  useEffect(() => dialog.current.showModal(), []);
  const stay = (event) => event.preventDefault();
  // A second Escape closes a dialog in spite of preventDefault().
  const comeBack = () => dialog.current?.showModal();
  return html`<dialog ref=${dialog} onCancel=${stay} onClose=${comeBack} aria-label=${reasonOf(true)[0]}><article><${SignIn} hasExpired /></article></dialog>`;
}
