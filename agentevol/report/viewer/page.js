"use strict";
// Texts of episodes enter the page through textContent only. The list draws the visible rows; the article shows the selected episode.

const ROW_HEIGHT = 46, ALL = "all";
const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;
const $ = (id) => document.getElementById(id);
const [list, spacer, article, search] = [$("list"), $("spacer"), $("episode"), $("search")];
const selects = ["environment", "phase", "label", "outcome", "compare"];
let data, episodes = [], byInstruction = new Map(), filtered = [], selected = 0, turn = -1;

function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

async function read() {
  const bytes = Uint8Array.from(atob($("data").textContent.trim()), (letter) => letter.charCodeAt(0));
  data = await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
  const fields = ["group", "env", "item", "type", "policy", "sample", "outcome", "reward", "progress", "rounds", "tokens", "cause", "ending", "roles", "messages"];
  episodes = data.episodes.map((values) => Object.fromEntries(values.map((value, index) => [fields[index], value])));
  for (const episode of episodes) {
    episode.env = data.environments[episode.env];
    episode.outcome = data.outcomes[episode.outcome];
    episode.goal = data.goals[episode.item] ?? "";
    Object.assign(episode, data.groups[episode.group]);
    const key = `${episode.phase}\n${episode.item}`;
    if (!byInstruction.has(key)) byInstruction.set(key, []);
    byInstruction.get(key).push(episode);
  }
  delete data.episodes;
}

// --- filters

const labels = () => [...new Set(data.groups.filter((group) => $("phase").value === ALL || group.phase === $("phase").value).map((group) => group.label))];

function setOptions(id, values, first) {
  const previous = $(id).value;
  const options = (first === undefined ? values : [first, ...values]).map((value) => (Array.isArray(value) ? value : [value, value]));
  $(id).replaceChildren(...options.map(([value, text]) => element("option", { value, textContent: text })));
  if (options.some(([value]) => value === previous)) $(id).value = previous;
}

function setLabelOptions() {
  setOptions("label", labels(), [ALL, "all"]);
  setOptions("compare", labels(), ["", "none"]);
}

function setUp() {
  const phases = [...new Set(data.groups.map((group) => group.phase))];
  setOptions("environment", data.environments.slice().sort(), [ALL, "all"]);
  setOptions("phase", phases, phases.length > 1 ? [ALL, "all"] : undefined);
  $("phase").value = phases[0];
  setOptions("outcome", [...data.outcomes, ["gained", "gained (the other failed)"], ["lost", "lost (the other succeeded)"]], [ALL, "all"]);
  setLabelOptions();
  const all = labels(), iterations = all.filter((label) => label.startsWith("Iteration"));
  $("label").value = iterations.at(-1) ?? all[0];
  if (all.length > 1) $("compare").value = all.find((label) => label !== $("label").value);
  readAddress();
}

const keyOf = (episode) => [episode.label, episode.item, episode.sample].join("~");

// The filters of the address; returns the key of the episode that it names.
function readAddress() {
  const saved = new URLSearchParams(location.hash.slice(1));
  for (const id of ["phase", ...selects]) {
    if (id === "label") setLabelOptions();
    if (saved.has(id) && [...$(id).options].some((option) => option.value === saved.get(id))) $(id).value = saved.get(id);
  }
  search.value = saved.get("search") ?? "";
  return saved.get("episode");
}

function writeAddress() {
  const state = new URLSearchParams(selects.map((id) => [id, $(id).value]));
  if (search.value) state.set("search", search.value);
  if (filtered[selected]) state.set("episode", keyOf(filtered[selected]));
  history.replaceState(null, "", `#${state}`);
}

// The episode of the other policy on the same instruction: the one with the same sample number if there is one.
function counterpart(episode) {
  const label = $("compare").value;
  if (!label) return undefined;
  const others = (byInstruction.get(`${episode.phase}\n${episode.item}`) ?? []).filter((other) => other.label === label && other !== episode);
  return others.find((other) => other.sample === episode.sample) ?? others[0];
}

function matches(episode, query) {
  return !query || episode.item.toLowerCase().includes(query) || episode.goal.toLowerCase().includes(query) || episode.type.toLowerCase().includes(query)
    || episode.messages.some((index) => textContains(index, query));
}

const lowerCase = new Map();
function textContains(index, query) {
  if (!lowerCase.has(index)) lowerCase.set(index, data.texts[index].toLowerCase());
  return lowerCase.get(index).includes(query);
}

// `key`: the episode to select, if it passes the filters.
function filter(key) {
  const [environment, phase, label, outcome] = selects.map((id) => $(id).value);
  const query = search.value.trim().toLowerCase();
  const all = episodes.filter((episode) => (environment === ALL || episode.env === environment) && (phase === ALL || episode.phase === phase)
    && (label === ALL || episode.label === label) && matches(episode, query));
  const successIs = (episode, own, others) => {
    const other = counterpart(episode);
    return (episode.outcome === "success") === own && other !== undefined && (other.outcome === "success") === others;
  };
  filtered = outcome === ALL ? all : outcome === "gained" ? all.filter((episode) => successIs(episode, true, false))
    : outcome === "lost" ? all.filter((episode) => successIs(episode, false, true)) : all.filter((episode) => episode.outcome === outcome);
  summarise(all);
  spacer.style.height = `${filtered.length * ROW_HEIGHT}px`;
  select(key ? filtered.findIndex((episode) => keyOf(episode) === key) : 0);
}

const selectedKey = () => filtered[selected] && keyOf(filtered[selected]);

function summarise(all) {
  const counts = data.outcomes.map((name) => [name, all.filter((episode) => episode.outcome === name).length]);
  const scored = all.length - (counts.find(([name]) => name === "error")?.[1] ?? 0);
  const bar = element("span", { id: "bar" });
  for (const [name, count] of counts) {
    const part = element("i", { title: `${count} ${name}` });
    part.style.width = `${all.length ? (100 * count) / all.length : 0}%`;
    part.style.background = `var(--${name})`;
    bar.append(part);
  }
  const rate = scored ? `${((100 * counts[0][1]) / scored).toFixed(1)} % success` : "";
  const parts = counts.filter(([, count]) => count).map(([name, count]) => element("span", { className: `is-${name}`, textContent: `${count} ${name}` }));
  const counted = filtered.length === all.length ? plural(all.length, "episode") : `${filtered.length} of ${plural(all.length, "episode")}`;
  $("summary").replaceChildren(element("strong", { id: "count", textContent: counted }), bar, element("span", { textContent: rate }), ...parts);
}

const outcomeOf = (episode) => episode.outcome + (episode.cause ? ` (${episode.cause})` : "");

// --- the list

function draw() {
  const first = Math.max(0, Math.floor(list.scrollTop / ROW_HEIGHT) - 4), last = Math.min(filtered.length, first + Math.ceil(list.clientHeight / ROW_HEIGHT) + 9);
  const rows = [];
  for (let index = first; index < last; index++) {
    const episode = filtered[index];
    const label = episode.label + (episode.phase === "exploring" ? " (exploring)" : "");
    const row = element("div", { className: `row is-${episode.outcome}`, id: `row-${index}`, role: "option", title: episode.goal },
      element("b", { textContent: episode.item + (episode.sample ? ` · sample ${episode.sample + 1}` : "") }),
      element("span", { textContent: `${outcomeOf(episode)} · ${label} · ${plural(episode.rounds, "round")} · ${episode.type}` }));
    row.setAttribute("aria-selected", index === selected);
    row.style.top = `${index * ROW_HEIGHT}px`;
    row.onclick = () => select(index);
    rows.push(row);
  }
  spacer.replaceChildren(...rows);
  list.setAttribute("aria-activedescendant", `row-${selected}`);
}

function select(index) {
  selected = Math.max(0, Math.min(filtered.length - 1, index));
  turn = -1;
  const top = selected * ROW_HEIGHT;
  if (top < list.scrollTop) list.scrollTop = top;
  else if (top + ROW_HEIGHT > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW_HEIGHT - list.clientHeight;
  draw();
  show(filtered[selected]);
  writeAddress();
}

// --- the episode; messages that both episodes share are shown once, over both columns

function show(episode) {
  article.scrollTop = 0;
  if (!episode) return void article.replaceChildren(element("p", { className: "muted", textContent: "No episode fits these filters." }));
  const other = counterpart(episode), comparing = Boolean($("compare").value), columns = comparing ? [episode, other] : [episode];
  const turns = element("div", { className: comparing ? "turns two" : "turns" });
  turns.append(head(episode));
  const missing = `${$("compare").value} has no episode on this instruction`;
  if (comparing) turns.append(other ? head(other) : element("div", { className: "head muted", textContent: missing }));
  const length = Math.max(episode.messages.length, other ? other.messages.length : 0);
  let firstDifference = -1;
  for (let index = 0; index < length; index++) {
    const same = other !== undefined && episode.messages[index] === other.messages[index];
    if (other && !same && firstDifference < 0) firstDifference = index;
    if (same) turns.append(message(episode, index, true, false));
    else {
      const differences = other ? differingWords(textOf(episode, index), textOf(other, index)) : [];
      columns.forEach((column, side) => turns.append(message(column, index, false, index === firstDifference, differences[side])));
    }
  }
  if (episode.ending || (other && other.ending)) for (const column of columns) turns.append(ending(column));
  article.replaceChildren(turns);
}

function head(episode) {
  const progress = episode.progress === null ? [] : [`progress ${Math.round(100 * episode.progress)} %`];
  const facts = [`reward ${+episode.reward.toFixed(3)}`, ...progress, plural(episode.rounds, "round"), plural(episode.tokens, "token"), `policy ${episode.policy}`, episode.type];
  const goal = episode.goal ? [element("div", { className: "goal", textContent: `Goal: ${episode.goal}`, title: episode.goal })] : [];
  return element("div", { className: "head" }, element("strong", { textContent: episode.item }), ...goal, ...(goal.length ? [] : [element("br")]),
    element("span", { className: `is-${episode.outcome}`, textContent: outcomeOf(episode) }), element("span", { textContent: episode.label }),
    element("span", { className: "muted", textContent: facts.join(" · ") }));
}

const textOf = (episode, index) => (index < episode.messages.length ? data.texts[episode.messages[index]] : undefined);

// The words of two texts, each as [words, whether it is missing in the other text]; nothing for texts that are too long or too different.
function differingWords(left, right) {
  if (left === undefined || right === undefined) return [];
  const [a, b] = [left, right].map((text) => text.split(/(\s+)/)), width = b.length + 1;
  if (a.length * b.length > 4e6) return [];
  const common = new Uint16Array((a.length + 1) * width); // the length of the longest common subsequence of a[i:] and b[j:]
  for (let i = a.length - 1; i >= 0; i--) for (let j = b.length - 1; j >= 0; j--)
    common[i * width + j] = a[i] === b[j] ? common[(i + 1) * width + j + 1] + 1 : Math.max(common[(i + 1) * width + j], common[i * width + j + 1]);
  const parts = [[], []], add = (side, word, differs) => {
    const last = parts[side].at(-1);
    if (last && (last[1] === differs || !word.trim())) last[0] += word; else parts[side].push([word, differs && Boolean(word.trim())]);
  };
  let i = 0, j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) { add(0, a[i++], false); add(1, b[j++], false); }
    else if (j >= b.length || (i < a.length && common[(i + 1) * width + j] >= common[i * width + j + 1])) add(0, a[i++], true);
    else add(1, b[j++], true);
  }
  return parts;
}

// `words`: the result of differingWords for this text.
function message(episode, index, same, first, words) {
  if (!episode || index >= episode.messages.length) return element("div");
  const role = episode.roles[index], text = textOf(episode, index), policy = role !== "u";
  const name = !policy ? (index ? "environment" : "instruction") : role === "g" ? "given answer" : same ? "both" : episode.label;
  const body = element("pre"), long = text.length > 700 || text.split("\n").length > 14;
  for (const [part, differs] of words ?? [[text, false]]) {
    const target = differs ? element("span", { className: "differs" }) : body;
    highlight(target, part);
    if (differs) body.append(target);
  }
  const box = element("div", { className: `message ${policy ? "policy" : "environment"}${same ? " same" : ""}${first ? " first" : ""}` },
    element("div", { className: "caption" }, element("span", { textContent: name }), element("span", { textContent: first ? `first difference · ${index + 1}` : index + 1 })), body);
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
  const query = search.value.trim().toLowerCase(), lower = text.toLowerCase();
  let end = 0;
  for (let start = query ? lower.indexOf(query) : -1; start >= 0; start = lower.indexOf(query, end)) {
    body.append(text.slice(end, start), element("mark", { textContent: text.slice(start, start + query.length) }));
    end = start + query.length;
  }
  body.append(text.slice(end));
}

function ending(episode) {
  return episode && episode.ending ? element("div", { className: `ending is-${episode.outcome}`, textContent: `${episode.outcome}: ${episode.ending}` }) : element("div");
}

function goToTurn(number) {
  const boxes = [...article.querySelectorAll(".message")];
  const last = Math.max(-1, ...boxes.map((box) => +box.dataset.index));
  turn = Math.max(0, Math.min(last, number));
  for (const box of boxes) box.classList.toggle("turn", +box.dataset.index === turn);
  boxes.find((box) => +box.dataset.index === turn)?.scrollIntoView({ block: "center" });
}

function nextOption(id) {
  const field = $(id);
  field.selectedIndex = (field.selectedIndex + 1) % field.options.length;
  filter(selectedKey());
}

const keys = {
  ArrowDown: () => select(selected + 1), j: () => select(selected + 1), ArrowUp: () => select(selected - 1), k: () => select(selected - 1),
  PageDown: () => select(selected + 10), PageUp: () => select(selected - 10), Home: () => select(0), End: () => select(filtered.length - 1),
  n: () => goToTurn(turn + 1), p: () => goToTurn(turn - 1), c: () => nextOption("compare"), o: () => nextOption("outcome"), "/": () => search.focus(),
  d: () => { const box = article.querySelector(".first"); if (box) goToTurn(+box.dataset.index); },
};

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") { search.value = ""; search.blur(); list.focus(); filter(selectedKey()); return; }
  if (event.ctrlKey || event.metaKey || event.altKey || ["INPUT", "SELECT"].includes(event.target.tagName)) return;
  if (event.target === article && event.key.length > 1) return;
  const action = keys[event.key];
  if (action) { event.preventDefault(); action(); }
});

read().then(() => {
  setUp();
  for (const id of selects) $(id).onchange = () => { if (id === "phase") setLabelOptions(); filter(selectedKey()); };
  let timer;
  search.oninput = () => { clearTimeout(timer); timer = setTimeout(() => filter(selectedKey()), 150); };
  $("filters").onsubmit = (event) => { event.preventDefault(); list.focus(); };
  list.onscroll = () => requestAnimationFrame(draw);
  addEventListener("resize", draw);
  addEventListener("hashchange", () => filter(readAddress()));
  filter(new URLSearchParams(location.hash.slice(1)).get("episode"));
  list.focus();
  document.body.dataset.ready = "true";
}).catch((error) => article.replaceChildren(element("p", { textContent: `This page cannot be read: ${error}` })));
