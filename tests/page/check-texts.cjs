// Checks that the page's scripts use only texts that exist, that each text is used, and that every language has the same texts.
"use strict";

const assert = require("node:assert/strict");
const fs = require("node:fs");
const path = require("node:path");

const page = path.join(__dirname, "../../src/page");
const read = (folder) => fs.readdirSync(path.join(page, folder)).map((name) => [name, fs.readFileSync(path.join(page, folder, name), "utf8")]);

const scripts = read("scripts").map(([, script]) => script).join("\n");
const used = new Set();
const wholeGroups = new Set();
for (const [, group, text] of scripts.matchAll(/\bt\.(\w+)(?:\.(\w+))?/g)) if (text) used.add(`${group}.${text}`);
for (const [, group] of scripts.matchAll(/\bt\.(\w+)(?:\[|\))/g)) wholeGroups.add(group);
for (const [, names, group] of scripts.matchAll(/\{([^{}]*)\} = t\.(\w+);/g)) {
  for (const name of names.split(",")) used.add(`${group}.${name.split(":")[0].trim()}`);
}

const files = read("texts");
assert.ok(files.length > 0);
const english = new Function(`${files.find(([name]) => name === "en.js")[1]}; return TEXTS.en`)();
const describe = (texts) => Object.entries(texts).flatMap(([group, entries]) =>
  Object.entries(entries).map(([name, text]) => `${group}.${name}: ${typeof text}${typeof text === "function" ? ` of ${text.length}` : ""}`));
for (const [name, code] of files) {
  assert.match(code, /^[\x00-\x7f]*$/, `${name} has characters that are not ASCII`);
  const language = name.replace(".js", "");
  const texts = new Function(`const TEXTS = {}; ${code.replace(/^const TEXTS = \{\};$/m, "")}; return TEXTS`)()[language];
  assert.deepEqual(describe(texts), describe(english), name);
}

const defined = Object.entries(english).flatMap(([group, entries]) => Object.keys(entries).map((name) => `${group}.${name}`));
assert.deepEqual([...used].filter((name) => !defined.includes(name)), [], "not defined");
assert.deepEqual(defined.filter((name) => !used.has(name) && !wholeGroups.has(name.split(".")[0])), [], "not used");
