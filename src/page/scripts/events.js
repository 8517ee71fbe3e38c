// Event types, and those that an endpoint subscribes to.
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

function EventTree({ catalogue, events, change }) {
  const set = (entry, isOn, replaces = () => false) => {
    const others = events.filter((known) => known !== entry && !replaces(known));
    change(isOn ? [...others, entry] : others);
  };
  const hasAll = events.includes("*");
  // Open or closed at first; from then on as the user has it.
  const opened = useMemo(() => new Set(hasAll ? [] : wantedTypes(events, catalogue).map(({ family }) => family)), []);
  return html`<fieldset class="tree">
    <legend>Events</legend>
    <label><input type="checkbox" role="switch" checked=${hasAll}
      onChange=${(event) => set("*", event.target.checked, (known) => !known.startsWith("webhook."))} />
      <strong>Everything</strong> <small>also what will be added later; not what tells of webhooks themselves</small></label>
    ${Object.entries(families(catalogue)).map(([family, types]) => {
      const whole = `${family}.*`;
      const isCovered = hasAll && family !== "webhook";
      const hasFamily = isCovered || events.includes(whole);
      const chosen = types.filter((type) => isWanted(events, type)).length;
      return html`<details key=${family} open=${opened.has(family)}>
        <summary>${family} <small>${chosen} of ${types.length}</small></summary>
        <label><input type="checkbox" checked=${hasFamily} disabled=${isCovered}
          onChange=${(event) => set(whole, event.target.checked, (known) => known.startsWith(`${family}.`))} />
          <code>${whole}</code> <small>all of this family</small></label>
        ${types.map((type) => html`<div class="leaf" key=${type.event_type}>
          <label><input type="checkbox" checked=${hasFamily || events.includes(type.event_type)} disabled=${hasFamily}
            onChange=${(event) => set(type.event_type, event.target.checked)} />
            <code>${type.event_type}</code> <small>${type.description}</small></label>
          <details class="example"><summary>Example</summary><pre tabindex="0">${JSON.stringify(type.example, null, 2)}</pre></details>
        </div>`)}
      </details>`;
    })}
  </fieldset>`;
}
