// Event types: those that an endpoint subscribes to, and the catalogue.
"use strict";

/** The catalogue by family: { submission: [type, ...], ... }. */
const families = (catalogue) => {
  const found = {};
  for (const type of catalogue) (found[type.family] ??= []).push(type);
  return found;
};

const isWanted = (events, { event_type, family }) =>
  events.includes(event_type) || events.includes(`${family}.*`) || (events.includes("*") && family !== "webhook");

/** The types that an endpoint gets. */
const wantedTypes = (events, catalogue) => catalogue.filter((type) => isWanted(events, type));

function EventTree({ catalogue, events, change, problem }) {
  const set = (entry, isOn, replaces = () => false) => {
    const others = events.filter((known) => known !== entry && !replaces(known));
    change(isOn ? [...others, entry] : others);
  };
  const hasAll = events.includes("*");
  // The families that are open at first; from then on the user decides.
  const opened = useMemo(() => new Set(hasAll ? [] : wantedTypes(events, catalogue).map(({ family }) => family)), []);
  return html`<fieldset class="tree">
    <legend>${t.form.events}</legend>
    ${problem && html`<small class="error" role="alert" id="events-problem">${asText(problem)}</small>`}
    <label><input type="checkbox" role="switch" checked=${hasAll} aria-invalid=${problem ? "true" : null} aria-describedby=${problem && "events-problem"}
      onChange=${(event) => set("*", event.target.checked, (known) => !known.startsWith("webhook."))} />
      <strong>${t.catalogue.everything}</strong> <small>${t.catalogue.everythingHelp}</small></label>
    ${Object.entries(families(catalogue)).map(([family, types]) => {
      const whole = `${family}.*`;
      const isCovered = hasAll && family !== "webhook";
      const hasFamily = isCovered || events.includes(whole);
      const chosen = types.filter((type) => isWanted(events, type)).length;
      return html`<details key=${family} open=${opened.has(family)}>
        <summary>${family} <small>${t.catalogue.chosen(chosen, types.length)}</small></summary>
        <label><input type="checkbox" checked=${hasFamily} disabled=${isCovered}
          onChange=${(event) => set(whole, event.target.checked, (known) => known.startsWith(`${family}.`))} />
          <code>${whole}</code> <small>${t.catalogue.family}</small></label>
        ${types.map((type) => html`<div class="leaf" key=${type.event_type}>
          <label><input type="checkbox" checked=${hasFamily || events.includes(type.event_type)} disabled=${hasFamily}
            onChange=${(event) => set(type.event_type, event.target.checked)} />
            <code>${type.event_type}</code> <small>${type.description}</small></label>
          <${Json} title=${t.common.example} value=${type.example} />
        </div>`)}
      </details>`;
    })}
  </fieldset>`;
}

/** A JSON value that is shown when it is opened; with `what` it can be copied. */
function Json({ title, value, what }) {
  const text = JSON.stringify(value, null, 2);
  return html`<details class="example"><summary>${title}</summary><pre tabindex="0">${text}</pre>${what && html`<${Copy} text=${text} what=${what} />`}</details>`;
}

/** All event types with what a receiver has to know of them. */
function Catalogue({ catalogue }) {
  const [search, setSearch] = useState("");
  const shown = catalogue.filter(({ event_type, description }) => matches(search, event_type, description));
  return html`<section aria-label=${t.catalogue.events}>
    <p>${t.catalogue.about}</p>
    <form class="filters" aria-label=${t.common.filters} onSubmit=${(event) => event.preventDefault()}>
      <${Search} label=${t.catalogue.search} value=${search} change=${setSearch} /></form>
    ${!shown.length && html`<${NoMatch} text=${t.catalogue.noneMatch} clear=${() => setSearch("")} />`}
    ${Object.entries(families(shown)).map(([family, types]) => html`<section key=${family}>
      <h2>${family}</h2>
      ${types.map((type) => html`<article key=${type.event_type} class="type">
        <h3><code>${type.event_type}</code></h3>
        <p>${type.description}</p>
        <${Json} title=${t.common.example} value=${type.example} what=${t.catalogue.exampleLabel} />
        <${Json} title=${t.catalogue.schema} value=${type.schema} what=${t.catalogue.schemaLabel} />
      </article>`)}
    </section>`)}
  </section>`;
}
