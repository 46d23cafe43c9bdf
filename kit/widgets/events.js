// Only what is in sight is in the page: the list is as high as all its rows, and a row is made when it is scrolled to.
// Everything that came over the wire goes into the page as textContent, never as markup.
const ROW = 24;
const COLOURS = { audio: "#0072B2", text: "#D55E00", mixed: "#CC79A7", function: "#009E73", empty: "#7F7F7F", failed: "#B2182B" };
const SIGNS = { audio: "♪", text: "¶", mixed: "♪¶", function: "ƒ", empty: "∅", failed: "✕" };
const KINDS = [
  ["every type", ""],
  ["errors", "error"],
  ["session", "session."],
  ["items", "conversation."],
  ["what is heard", "input_audio_buffer."],
  ["responses", "response.created|response.done|response.create|response.cancel"],
  ["text and transcript", "text.|transcript."],
  ["audio", "audio.delta|audio.done"],
  ["calls", "function_call"],
];

function make(tag, name, text) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text !== undefined) node.textContent = text;
  return node;
}

function badge(response, n) {
  const node = make("span", "kit-ev-badge", `${SIGNS[response[0]] || "…"} ${n}`);
  node.style.background = COLOURS[response[0]] || "#7F7F7F";
  node.title = `response ${n}: ${response[0]}, ${response[1]}. ${response[2]}`;
  return node;
}

function render({ model, el }) {
  let rows = [], shown = [], responses = [], selected = -1, opened = -1, live = false, urls = [];
  const root = make("div", "kit-ev");
  const bar = make("div", "kit-ev-bar");
  const direction = make("select");
  for (const [text, value] of [["← and →", ""], ["← server", "0"], ["→ client", "1"]]) direction.append(new Option(text, value));
  direction.title = "who sent it";
  const kind = make("select");
  for (const [text, value] of KINDS) kind.append(new Option(text, value));
  kind.title = "type of event";
  const find = make("input");
  find.type = "search";
  find.placeholder = "find in type and words";
  const which = make("select");
  which.title = "jump to a response";
  const fold = make("label", "kit-ev-fold");
  const folds = make("input");
  folds.type = "checkbox";
  folds.checked = true;
  fold.append(folds, " fold deltas");
  const count = make("span", "kit-ev-count");
  const origin = make("span", "kit-ev-origin");
  bar.append(direction, kind, find, which, fold, count, origin);
  const head = make("div", "kit-ev-row kit-ev-head");
  for (const [name, text] of [["at", "ms"], ["dir", ""], ["type", "event"], ["of", ""], ["gist", "says"]]) head.append(make("span", `kit-ev-${name}`, text));
  const list = make("div", "kit-ev-list");
  list.tabIndex = 0;
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "events");
  const space = make("div", "kit-ev-space");
  const inner = make("div", "kit-ev-inner");
  space.append(inner);
  list.append(space);
  const detail = make("div", "kit-ev-detail");
  detail.hidden = true;
  root.append(bar, head, list, detail);
  el.append(root);

  function foldable(row) {
    return row[2].endsWith(".delta") || row[2] === "input_audio_buffer.append";
  }

  // shown: [index of the first event, how many are folded into it, bytes in all]. Deltas of several kinds come in turns: in a
  // stretch of nothing but deltas, those of one kind and response are one row.
  function filter() {
    const words = find.value.toLowerCase(), types = kind.value ? kind.value.split("|") : [];
    const only = which.value === "" ? -1 : Number(which.value), way = direction.value === "" ? -1 : Number(direction.value);
    shown = [];
    let stretch = new Map();
    for (let n = 0; n < rows.length; n++) {
      const row = rows[n];
      if (way >= 0 && row[1] !== way) continue;
      if (only >= 0 && row[5] !== only) continue;
      if (types.length && !types.some(t => (t.includes(".") && !t.endsWith(".") && t.startsWith("response.")) ? row[2] === t : row[2].includes(t))) continue;
      if (words && !row[2].toLowerCase().includes(words) && !row[3].toLowerCase().includes(words)) continue;
      const name = folds.checked && foldable(row) ? `${row[2]} ${row[5]}` : "";
      if (!name) stretch = new Map();
      const of = stretch.get(name);
      if (of) {
        of[1]++;
        of[2] += row[4];
        continue;
      }
      const one = [n, 1, row[4]];
      if (name) stretch.set(name, one);
      shown.push(one);
    }
    space.style.height = `${shown.length * ROW}px`;
    list.style.height = `${Math.max(3 * ROW, Math.min(model.get("height_px"), shown.length * ROW))}px`;
    count.textContent = `${rows.length.toLocaleString("en")} events${shown.length !== rows.length ? `, ${shown.length.toLocaleString("en")} rows` : ""}${live ? ", live" : ""}`;
    draw();
  }

  function draw() {
    const first = Math.max(0, Math.floor(list.scrollTop / ROW) - 8);
    const last = Math.min(shown.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + 8);
    inner.style.transform = `translateY(${first * ROW}px)`;
    inner.replaceChildren(...shown.slice(first, last).map(([n, many, bytes], at) => {
      const row = rows[n], node = make("div", "kit-ev-row");
      node.setAttribute("role", "option");
      node.dataset.n = n;
      if (first + at === selected) node.classList.add("kit-ev-on");
      if (row[2] === "error") node.classList.add("kit-ev-error");
      node.append(make("span", "kit-ev-at", row[0] === null ? "–" : Math.round(row[0]).toLocaleString("en")));
      node.append(make("span", "kit-ev-dir", row[1] ? "→" : "←"));
      node.append(make("span", "kit-ev-type", many > 1 ? `${row[2]} ×${many}` : row[2]));
      const of = make("span", "kit-ev-of");
      if (row[5] >= 0 && responses[row[5]]) of.append(badge(responses[row[5]], row[5]));
      node.append(of);
      node.append(make("span", "kit-ev-gist", bytes ? `${bytes.toLocaleString("en")} bytes of audio` : many > 1 ? joined(n, many) : row[3]));
      return node;
    }));
  }

  function joined(n, many) {
    const [, , type, , , response] = rows[n];
    let text = "";
    for (let at = n; many > 0 && at < rows.length && text.length < 200; at++) {
      if (rows[at][2] !== type || rows[at][5] !== response) continue;
      text += `${rows[at][3]}${type.includes("arguments") ? "" : " "}`;
      many--;
    }
    return text;
  }

  function open(at) {
    if (at < 0 || at >= shown.length) return;
    selected = at;
    opened = shown[at][0];
    if (at * ROW < list.scrollTop) list.scrollTop = at * ROW;
    if ((at + 1) * ROW > list.scrollTop + list.clientHeight) list.scrollTop = (at + 1) * ROW - list.clientHeight;
    draw();
    model.send({ kind: "open", n: opened });
  }

  function show(told) {
    if (told.n !== opened) return;
    detail.hidden = false;
    const line = make("div", "kit-ev-bar");
    const row = rows[told.n];
    line.append(make("b", "", `${row[1] ? "→" : "←"} ${row[2]}`));
    if (row[5] >= 0) {
      const jump = make("button", "", which.value === String(row[5]) ? "all events" : `only response ${row[5]}`);
      jump.onclick = () => { which.value = which.value === String(row[5]) ? "" : String(row[5]); list.scrollTop = 0; selected = -1; filter(); };
      line.append(jump);
    }
    if (told.sound) {
      const hear = make("button", "kit-ev-hear", "▶ hear the reply");
      hear.onclick = () => { hear.disabled = true; model.send({ kind: "hear", n: told.n }); };
      line.append(hear);
    }
    const close = make("button", "kit-ev-close", "✕");
    close.title = "close";
    close.onclick = () => { detail.hidden = true; selected = opened = -1; draw(); };
    line.append(close);
    const json = make("pre", "", told.text);
    json.tabIndex = 0;
    detail.replaceChildren(line, json);
  }

  function hear(told, buffers) {
    if (told.n !== opened || !buffers.length || !buffers[0].byteLength) return;
    const url = URL.createObjectURL(new Blob([buffers[0]], { type: "audio/wav" }));
    urls.push(url);
    const player = make("audio");
    player.controls = true;
    player.src = url;
    detail.querySelector(".kit-ev-hear")?.replaceWith(player);
    player.play().catch(() => {});
  }

  function about(told) {
    responses = told.responses;
    live = told.live;
    origin.textContent = told.origin;
    origin.hidden = !told.origin;
    const chosen = which.value;
    which.replaceChildren(new Option(responses.length ? "every response" : "no response", ""));
    responses.forEach((r, n) => which.append(new Option(`${n}: ${SIGNS[r[0]] || "…"} ${r[0]}, ${r[1]}${r[2] ? ` – ${r[2].slice(0, 40)}` : ""}`, n)));
    which.value = chosen;
    filter();
  }

  const take = (told, buffers) => {
    if (told.kind === "rows") {
      const follow = list.scrollTop + list.clientHeight >= list.scrollHeight - ROW;
      rows.splice(told.start, told.rows.length, ...told.rows);
      filter();
      if (live && follow && told.start > 0) list.scrollTop = list.scrollHeight;
    } else if (told.kind === "about") about(told);
    else if (told.kind === "opened") show(told);
    else if (told.kind === "sound") hear(told, buffers);
  };
  model.on("msg:custom", take);
  let waiting = false;
  list.addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  });
  inner.addEventListener("click", event => {
    const row = event.target.closest(".kit-ev-row");
    if (row) open(shown.findIndex(s => s[0] === Number(row.dataset.n)));
  });
  list.addEventListener("keydown", event => {
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 12, PageUp: -12 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    open(Math.max(0, Math.min(shown.length - 1, selected + step)));
  });
  for (const control of [direction, kind, which, folds]) control.addEventListener("change", () => { list.scrollTop = 0; selected = -1; filter(); });
  find.addEventListener("input", () => { list.scrollTop = 0; selected = -1; filter(); });
  for (const node of [find, list]) node.addEventListener("keydown", event => event.stopPropagation());
  model.on("change:height_px", filter);
  model.send({ kind: "ready" });
  return () => {
    model.off("msg:custom", take);
    urls.forEach(URL.revokeObjectURL);
  };
}

export default { render };
