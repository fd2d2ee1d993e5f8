"use strict";
// All text of episodes goes into the page by textContent. The list draws the rows that are in sight, the article the chosen episode.

const ROW = 46, ALL = "all";
const many = (count, what) => `${count} ${what}${count === 1 ? "" : "s"}`;
const $ = (id) => document.getElementById(id);
const [list, spacer, article, search] = [$("list"), $("spacer"), $("episode"), $("search")];
const selects = ["environment", "phase", "label", "outcome", "beside"];
let data, episodes = [], byInstruction = new Map(), shown = [], chosen = 0, turn = -1;

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

async function read() {
  const bytes = Uint8Array.from(atob($("data").textContent.trim()), (letter) => letter.charCodeAt(0));
  data = await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
  const fields = ["set", "env", "item", "type", "policy", "sample", "outcome", "reward", "rounds", "tokens", "error", "roles", "said"];
  episodes = data.episodes.map((values) => Object.fromEntries(values.map((value, index) => [fields[index], value])));
  for (const one of episodes) {
    one.env = data.environments[one.env];
    one.outcome = data.outcomes[one.outcome];
    Object.assign(one, data.sets[one.set]);
    const key = `${one.phase}\n${one.item}`;
    if (!byInstruction.has(key)) byInstruction.set(key, []);
    byInstruction.get(key).push(one);
  }
  delete data.episodes;
}

// --- filters

const labels = () => [...new Set(data.sets.filter((set) => $("phase").value === ALL || set.phase === $("phase").value).map((set) => set.label))];

function fill(id, values, first) {
  const before = $(id).value;
  const options = (first === undefined ? values : [[first[0], first[1]], ...values]).map((one) => (Array.isArray(one) ? one : [one, one]));
  $(id).replaceChildren(...options.map(([value, text]) => element("option", { value, textContent: text })));
  if (options.some(([value]) => value === before)) $(id).value = before;
}

function fillLabels() {
  fill("label", labels(), [ALL, "all"]);
  fill("beside", labels(), ["", "nothing"]);
}

function setUp() {
  const phases = [...new Set(data.sets.map((set) => set.phase))];
  fill("environment", data.environments.slice().sort(), [ALL, "all"]);
  fill("phase", phases, phases.length > 1 ? [ALL, "all"] : undefined);
  $("phase").value = phases[0];
  fill("outcome", [...data.outcomes, ["gained", "gained (beside failed)"], ["lost", "lost (beside won)"]], [ALL, "all"]);
  fillLabels();
  const known = labels(), iterations = known.filter((label) => label.startsWith("Iteration"));
  $("label").value = iterations.at(-1) ?? known[0];
  if (known.length > 1) $("beside").value = known.find((label) => label !== $("label").value);
  const saved = new URLSearchParams(location.hash.slice(1));
  for (const id of ["phase", ...selects]) {
    if (id === "label") fillLabels();
    if (saved.has(id) && [...$(id).options].some((option) => option.value === saved.get(id))) $(id).value = saved.get(id);
  }
  search.value = saved.get("search") ?? "";
}

// The episode of the policy beside, on the same instruction: the same sample of it where there is one.
function other(one) {
  const label = $("beside").value;
  if (!label) return undefined;
  const found = (byInstruction.get(`${one.phase}\n${one.item}`) ?? []).filter((two) => two.label === label && two !== one);
  return found.find((two) => two.sample === one.sample) ?? found[0];
}

function matches(one, words) {
  return !words || one.item.toLowerCase().includes(words) || one.type.toLowerCase().includes(words) || one.said.some((index) => hit(index, words));
}

const lowered = new Map();
function hit(index, words) {
  if (!lowered.has(index)) lowered.set(index, data.texts[index].toLowerCase());
  return lowered.get(index).includes(words);
}

function filter(keep) {
  const before = keep ? shown[chosen] : undefined;
  const [environment, phase, label, outcome] = selects.map((id) => $(id).value);
  const words = search.value.trim().toLowerCase();
  const all = episodes.filter((one) => (environment === ALL || one.env === environment) && (phase === ALL || one.phase === phase)
    && (label === ALL || one.label === label) && matches(one, words));
  const compared = (one, mine, theirs) => (one.outcome === "success") === mine && other(one) !== undefined && (other(one).outcome === "success") === theirs;
  shown = outcome === ALL ? all : outcome === "gained" ? all.filter((one) => compared(one, true, false))
    : outcome === "lost" ? all.filter((one) => compared(one, false, true)) : all.filter((one) => one.outcome === outcome);
  summarise(all);
  spacer.style.height = `${shown.length * ROW}px`;
  choose(before && shown.includes(before) ? shown.indexOf(before) : 0);
  const state = new URLSearchParams([...selects, "search"].filter((id) => $(id).value && $(id).value !== ALL).map((id) => [id, $(id).value]));
  if (!state.has("beside")) state.set("beside", "");
  history.replaceState(null, "", `#${state}`);
}

function summarise(all) {
  const counts = data.outcomes.map((name) => [name, all.filter((one) => one.outcome === name).length]);
  const judged = all.length - (counts.find(([name]) => name === "error")?.[1] ?? 0);
  const bar = element("span", { id: "bar" });
  for (const [name, count] of counts) {
    const part = element("i", { title: `${count} ${name}` });
    part.style.width = `${all.length ? (100 * count) / all.length : 0}%`;
    part.style.background = `var(--${name})`;
    bar.append(part);
  }
  const rate = judged ? `${((100 * counts[0][1]) / judged).toFixed(1)} % success` : "";
  const parts = counts.filter(([, count]) => count).map(([name, count]) => element("span", { className: `is-${name}`, textContent: `${count} ${name}` }));
  const few = shown.length === all.length ? many(all.length, "episode") : `${shown.length} of ${many(all.length, "episode")}`;
  $("summary").replaceChildren(element("strong", { id: "count", textContent: few }), bar, element("span", { textContent: rate }), ...parts);
}

// --- the list

function draw() {
  const first = Math.max(0, Math.floor(list.scrollTop / ROW) - 4), last = Math.min(shown.length, first + Math.ceil(list.clientHeight / ROW) + 9);
  const rows = [];
  for (let index = first; index < last; index++) {
    const one = shown[index];
    const row = element("div", { className: `row is-${one.outcome}`, id: `row-${index}`, role: "option" },
      element("b", { textContent: one.item + (one.sample ? ` · sample ${one.sample + 1}` : "") }),
      element("span", { textContent: `${one.outcome} · ${one.label}${one.phase === "exploring" ? " (exploring)" : ""} · ${many(one.rounds, "round")} · ${one.type}` }));
    row.setAttribute("aria-selected", index === chosen);
    row.style.top = `${index * ROW}px`;
    row.onclick = () => choose(index);
    rows.push(row);
  }
  spacer.replaceChildren(...rows);
  list.setAttribute("aria-activedescendant", `row-${chosen}`);
}

function choose(index) {
  chosen = Math.max(0, Math.min(shown.length - 1, index));
  turn = -1;
  const top = chosen * ROW;
  if (top < list.scrollTop) list.scrollTop = top;
  else if (top + ROW > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW - list.clientHeight;
  draw();
  show(shown[chosen]);
}

// --- the episode; what two policies have in common stands once, over both columns

function show(one) {
  article.scrollTop = 0;
  if (!one) return void article.replaceChildren(element("p", { className: "quiet", textContent: "No episode fits these filters." }));
  const two = other(one), beside = Boolean($("beside").value);
  const turns = element("div", { className: beside ? "turns two" : "turns" });
  turns.append(head(one));
  if (beside) turns.append(two ? head(two) : element("div", { className: "head quiet", textContent: `${$("beside").value} has no episode on this instruction` }));
  const length = Math.max(one.said.length, two ? two.said.length : 0);
  let differs = -1;
  for (let index = 0; index < length; index++) {
    const same = two !== undefined && one.said[index] === two.said[index];
    if (two && !same && differs < 0) differs = index;
    if (same) turns.append(said(one, index, true, false));
    else for (const episode of beside ? [one, two] : [one]) turns.append(said(episode, index, false, index === differs));
  }
  if (one.error || (two && two.error)) for (const episode of beside ? [one, two] : [one]) turns.append(why(episode));
  article.replaceChildren(turns);
}

function head(one) {
  return element("div", { className: "head" }, element("strong", { textContent: one.item }), element("br"),
    element("span", { className: `is-${one.outcome}`, textContent: one.outcome }), element("span", { textContent: one.label }),
    element("span", { className: "quiet", textContent: `reward ${+one.reward.toFixed(3)} · ${many(one.rounds, "round")} · ${many(one.tokens, "token")} · played by ${one.policy} · ${one.type}` }));
}

function said(one, index, same, first) {
  if (!one || index >= one.said.length) return element("div");
  const role = one.roles[index], text = data.texts[one.said[index]], policy = role !== "u";
  const name = !policy ? (index ? "world" : "instruction") : role === "g" ? "given answer" : same ? "both" : one.label;
  const body = element("pre"), long = text.length > 700 || text.split("\n").length > 14;
  highlight(body, text);
  const box = element("div", { className: `said ${policy ? "policy" : "world"}${same ? " same" : ""}${first ? " first" : ""}` },
    element("div", { className: "who" }, element("span", { textContent: name }), element("span", { textContent: first ? `first difference · ${index + 1}` : index + 1 })), body);
  box.dataset.index = index;
  if (long && !policy && !body.querySelector("mark")) {
    body.className = "folded";
    const button = element("button", { type: "button", textContent: "show all" });
    button.onclick = () => { button.textContent = body.classList.toggle("folded") ? "show all" : "show less"; };
    box.append(button);
  }
  return box;
}

function highlight(body, text) {
  const words = search.value.trim().toLowerCase(), low = text.toLowerCase();
  let from = 0;
  for (let at = words ? low.indexOf(words) : -1; at >= 0; at = low.indexOf(words, from)) {
    body.append(text.slice(from, at), element("mark", { textContent: text.slice(at, at + words.length) }));
    from = at + words.length;
  }
  body.append(text.slice(from));
}

function why(one) {
  return one && one.error ? element("div", { className: "why", textContent: `ended: ${one.error}` }) : element("div");
}

function go(to) {
  const boxes = [...article.querySelectorAll(".said")];
  const last = Math.max(-1, ...boxes.map((box) => +box.dataset.index));
  turn = Math.max(0, Math.min(last, to));
  for (const box of boxes) box.classList.toggle("turn", +box.dataset.index === turn);
  boxes.find((box) => +box.dataset.index === turn)?.scrollIntoView({ block: "center" });
}

function next(id) {
  const select = $(id);
  select.selectedIndex = (select.selectedIndex + 1) % select.options.length;
  filter(true);
}

const keys = {
  ArrowDown: () => choose(chosen + 1), j: () => choose(chosen + 1), ArrowUp: () => choose(chosen - 1), k: () => choose(chosen - 1),
  PageDown: () => choose(chosen + 10), PageUp: () => choose(chosen - 10), Home: () => choose(0), End: () => choose(shown.length - 1),
  n: () => go(turn + 1), p: () => go(turn - 1), b: () => next("beside"), o: () => next("outcome"), "/": () => search.focus(),
  d: () => { const box = article.querySelector(".first"); if (box) go(+box.dataset.index); },
};

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") { search.value = ""; search.blur(); list.focus(); filter(true); return; }
  if (event.ctrlKey || event.metaKey || event.altKey || ["INPUT", "SELECT"].includes(event.target.tagName)) return;
  if (event.target === article && event.key.length > 1) return;
  const action = keys[event.key];
  if (action) { event.preventDefault(); action(); }
});

read().then(() => {
  setUp();
  for (const id of selects) $(id).onchange = () => { if (id === "phase") fillLabels(); filter(true); };
  let waiting;
  search.oninput = () => { clearTimeout(waiting); waiting = setTimeout(() => filter(true), 150); };
  $("filters").onsubmit = (event) => { event.preventDefault(); list.focus(); };
  list.onscroll = () => requestAnimationFrame(draw);
  addEventListener("resize", draw);
  filter(false);
  list.focus();
  document.body.dataset.ready = "true";
}).catch((error) => article.replaceChildren(element("p", { textContent: `This page cannot be read: ${error}` })));
