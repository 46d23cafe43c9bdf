// Only what is in sight is in the page: the list is as high as all its rows, and a row is made when it is scrolled to.
// Everything that came over the wire goes into the page as textContent, never as markup.
const ROW = 24;
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
  const node = element(tag, name ? { class: name } : {});
  if (text !== undefined) node.textContent = text;
  return node;
}

// A response: [modality, sign, ground, ink, status, words]
function badge([modality, sign, ground, ink, status, words], n) {
  const node = make("span", "kit-ev-badge", `${sign} ${n}`);
  node.style.background = ground;
  node.style.color = ink;
  node.title = `response ${n}: ${modality}, ${status}. ${words}`;
  return node;
}

function render({ model, el }) {
  let rows = [], shown = [], responses = [], selected = -1, opened = -1, live = false, urls = [];
  const name = `kit-ev-${Math.random().toString(36).slice(2)}`; // of its rows, for aria-activedescendant
  const tell = teller(model);
  const root = make("div", "kit-ev");
  const bar = make("div", "kit-ev-bar");
  const direction = make("select");
  for (const [text, value] of [["both ways", ""], ["← server", "0"], ["→ client", "1"]]) direction.append(new Option(text, value));
  direction.setAttribute("aria-label", "who sent it");
  const kind = make("select");
  for (const [text, value] of KINDS) kind.append(new Option(text, value));
  kind.setAttribute("aria-label", "type of event");
  const find = make("input");
  find.type = "search";
  find.placeholder = "find in type and words";
  find.setAttribute("aria-label", "find in type and words");
  const which = make("select");
  which.setAttribute("aria-label", "response");
  const fold = make("label", "kit-ev-fold");
  const folds = make("input");
  folds.type = "checkbox";
  folds.checked = true;
  fold.append(folds, " fold deltas");
  const count = make("span", "kit-ev-count");
  const origin = make("span", "kit-ev-origin");
  const light = microphoneLight();
  bar.append(direction, kind, find, which, fold, count, origin, light.el);
  const head = make("div", "kit-ev-row kit-ev-head");
  for (const [name, text] of [["at", "ms"], ["dir", ""], ["type", "event"], ["of", "reply"], ["gist", "says"]]) head.append(make("span", `kit-ev-${name}`, text));
  const list = make("div", "kit-ev-list");
  list.tabIndex = 0;
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "events");
  const space = make("div", "kit-ev-space");
  const inner = make("div", "kit-ev-inner");
  space.append(inner);
  const nothing = make("div", "kit-ev-nothing");
  const clear = make("button", "", "show all events");
  clear.onclick = () => { direction.value = kind.value = which.value = find.value = ""; filter(); list.focus(); };
  list.append(space);
  const detail = make("div", "kit-ev-detail");
  detail.hidden = true;
  root.append(bar, head, list, nothing, detail);
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
    list.hidden = head.hidden = !shown.length;
    nothing.hidden = shown.length > 0;
    nothing.replaceChildren(rows.length ? "No event matches. " : "No event yet.", ...(rows.length ? [clear] : []));
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
      node.id = `${name}-${n}`;
      node.setAttribute("aria-selected", first + at === selected);
      node.setAttribute("aria-posinset", first + at + 1);
      node.setAttribute("aria-setsize", shown.length);
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
    list.setAttribute("aria-activedescendant", `${name}-${opened}`);
    tell({ kind: "open", n: opened });
  }

  function show(message) {
    if (message.n !== opened) return;
    detail.hidden = false;
    const line = make("div", "kit-ev-bar");
    const row = rows[message.n];
    line.append(make("b", "", `${row[1] ? "→" : "←"} ${row[2]}`));
    if (row[5] >= 0) {
      const jump = make("button");
      const label = () => { jump.textContent = which.value === String(row[5]) ? "all events" : `only response ${row[5]}`; };
      label();
      jump.onclick = () => { which.value = which.value === String(row[5]) ? "" : String(row[5]); list.scrollTop = 0; selected = -1; filter(); label(); };
      line.append(jump);
    }
    if (message.sound) {
      const hear = make("button", "kit-ev-hear", "▶ hear the reply");
      hear.onclick = () => { hear.disabled = true; tell({ kind: "hear", n: message.n }); };
      line.append(hear);
    }
    const close = make("button", "kit-ev-close", "✕");
    close.setAttribute("aria-label", "close");
    close.onclick = shut;
    line.append(close);
    const json = make("pre", "", message.text);
    json.tabIndex = 0;
    detail.replaceChildren(line, json);
  }

  function shut() { detail.hidden = true; selected = opened = -1; list.removeAttribute("aria-activedescendant"); draw(); list.focus(); }

  function hear(message, buffers) {
    if (message.n !== opened || !buffers.length || !buffers[0].byteLength) return;
    const url = URL.createObjectURL(new Blob([buffers[0]], { type: "audio/wav" }));
    urls.push(url);
    const player = make("audio");
    player.controls = true;
    player.src = url;
    detail.querySelector(".kit-ev-hear")?.replaceWith(player);
    player.play().catch(() => {});
  }

  function about(message) {
    responses = message.responses;
    live = message.live;
    origin.textContent = message.origin;
    origin.hidden = !message.origin;
    const chosen = which.value;
    which.replaceChildren(new Option(responses.length ? "every response" : "no response", ""));
    responses.forEach(([modality, sign, , , status, words], n) => which.append(new Option(`${n}: ${sign} ${modality}, ${status}${words ? ` – ${words.slice(0, 40)}` : ""}`, n)));
    which.value = chosen;
    filter();
  }

  const take = (message, buffers) => {
    if (message.kind === "rows") {
      const follow = list.scrollTop + list.clientHeight >= list.scrollHeight - ROW;
      rows.splice(message.start, message.rows.length, ...message.rows);
      filter();
      if (live && follow && message.start > 0) list.scrollTop = list.scrollHeight;
    } else if (message.kind === "about") about(message);
    else if (message.kind === "opened") show(message);
    else if (message.kind === "sound") hear(message, buffers);
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
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 12, PageUp: -12, Home: -Infinity, End: Infinity }[event.key];
    if (event.key === "Escape" && !detail.hidden) shut();
    else if (event.key === "Enter" && !detail.hidden) detail.querySelector("pre")?.focus();
    else if (step) open(Math.max(0, Math.min(shown.length - 1, selected + step)));
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  for (const control of [direction, kind, which, folds]) control.addEventListener("change", () => { list.scrollTop = 0; selected = -1; filter(); });
  find.addEventListener("input", () => { list.scrollTop = 0; selected = -1; filter(); });
  for (const node of [find, list]) node.addEventListener("keydown", event => event.stopPropagation());
  model.on("change:height_px", filter);
  detail.addEventListener("keydown", event => { event.stopPropagation(); if (event.key === "Escape") shut(); });
  tell({ kind: "here" });
  return () => {
    model.off("msg:custom", take);
    light.remove();
    urls.forEach(URL.revokeObjectURL);
  };
}

export default { render };
