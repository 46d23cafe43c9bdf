// The conversation's face: a log of turns, a box to type into, and with `talk` the page's microphone and speaker.

export default () => {
  const s = { state: 'idle', word: '', facts: '', problem: null, manual: false, talk: false, clips: [], mine: 0, its: 0, held: false, blocked: false, turns: [], devices: [], deviceId: '' };
  const views = new Set();
  const redraw = () => views.forEach(view => view());
  let microphone = null, opening = 0, out = null, mine, replaying = null, dispose;

  function initialize({ model }) {
    const set = changes => { Object.assign(s, changes); redraw(); };
    const tell = teller(model, () => mine.end('gone'));
    const speaker = () => out || (out = new Playout(report => { s.its = report.peak; tell({ kind: 'heard', ...report }); redraw(); }, model.get('prebuffer_ms')));
    // Something but a press on End ended the microphone: fall silent here first, then say so, if anybody is left to hear it.
    const ended = (why, words) => {
      opening += 1;
      microphone?.drop();
      microphone = null;
      out?.stop(0);
      set({ state: 'idle', word: 'ended', mine: 0, its: 0, held: false, problem: words || null });
      const kept = { closed: { kind: 'press', what: 'stop' }, taken: { kind: 'problem', words }, lost: { kind: 'problem', words } }; // the session stays open
      tell(kept[why] || { kind: 'left', words });
    };
    mine = ownership(model, ended);

    async function open({ processing }) {
      const mark = ++opening;
      try {
        await speaker().open();
        const opened = await openMicrophone({
          rate: 24000, blockMs: 40, processing, deviceId: s.deviceId,
          onBlock: ({ pcm, first, peak }) => {
            s.mine = peak;
            if (pcm.byteLength) tell({ kind: 'pcm', first }, [pcm]);
            redraw();
          },
          onLost: () => mine.end('lost'),
        });
        if (mark !== opening) { opened.drop(); return; } // given up meanwhile
        if (opened.rate !== 24000) {
          opened.drop();
          tell({ kind: 'problem', words: `This browser records at ${opened.rate} Hz only; talk in Chromium or Chrome, or with VoiceChat(session, where="kernel").` });
          return;
        }
        microphone = opened;
        mine.own(true);
        set({ blocked: speaker().blocked, deviceId: opened.deviceId || '' });
        tell({ kind: 'opened', settings: opened.settings, label: opened.label });
        list();
      } catch (error) { tell({ kind: 'problem', words: (error.told || explained(error))[1] }); }
    }

    async function close() { // the kernel ended the talk
      opening += 1;
      const open = microphone;
      microphone = null;
      mine.own(false);
      set({ mine: 0, its: 0 });
      await open?.stop();
    }

    async function list() { // names are known once the reader has allowed a microphone
      const all = await navigator.mediaDevices.enumerateDevices();
      set({ devices: all.filter(d => d.kind === 'audioinput').map(d => [d.deviceId, d.label || 'a microphone']) });
    }

    async function choose(deviceId) {
      s.deviceId = deviceId;
      if (!microphone) return;
      s.press('stop'); // and again with the other one
      s.again = true;
    }

    function replay(m, [data]) {
      hush();
      if (!data?.byteLength) return;
      const url = URL.createObjectURL(new Blob([data], { type: 'audio/wav' }));
      const audio = new Audio(url);
      audio.onended = hush;
      replaying = { id: m.id, audio, url };
      audio.play().catch(hush);
      redraw();
    }
    function hush() {
      if (!replaying) return;
      replaying.audio.pause();
      URL.revokeObjectURL(replaying.url);
      replaying = null;
      redraw();
    }

    const on = {
      open, close, clip: replay,
      sound: async (_m, [pcm]) => { const speak = speaker(); speak.write(pcm); await speak.open(); if (s.blocked !== speak.blocked) set({ blocked: speak.blocked }); },
      end: () => speaker().end(),
      stop: m => speaker().stop(m.id),
      got: () => mine.answered(),
      turns: m => { s.turns.length = m.total; m.changed.forEach(([n, turn]) => { s.turns[n] = turn; }); redraw(); },
      view: m => {
        delete m.kind;
        set(m);
        if (s.again && s.state === 'idle') { s.again = false; s.press('start'); }
      },
      levels: m => set({ mine: m.mine, its: m.its }),
    };
    model.on('msg:custom', (message, buffers) => on[message.kind]?.(message, buffers));
    s.press = what => {
      if (what === 'stop') { // first here, then at the kernel, if there is one
        opening += 1;
        const open = microphone;
        microphone = null;
        mine.own(false);
        open?.stop();
        out?.stop(0);
        set({ mine: 0, its: 0, held: false });
      }
      if (!tell({ kind: 'press', what })) set({ state: 'idle', word: 'ended', problem: WHY.gone });
    };
    s.say = text => tell({ kind: 'say', text }) || set({ problem: 'The kernel is gone: nothing was sent. Start it, and run the cells again.' });
    s.clip = name => tell({ kind: 'say', clip: name });
    s.replay = id => { if (replaying?.id === id) hush(); else if (!tell({ kind: 'replay', id })) set({ problem: WHY.gone }); };
    s.isReplaying = id => replaying?.id === id;
    s.choose = choose;
    s.view = change => mine.onView(change);
    s.unblock = async () => { await speaker().unblock(); set({ blocked: false }); };
    dispose = () => { hush(); mine.dispose(); out?.close(); };
    tell({ kind: 'here' });
    return dispose;
  }

  function render({ el }) {
    const main = element('button', { class: 'kit-main', type: 'button', onclick: () => s.press(s.state === 'idle' ? 'start' : 'stop') });
    const hold = element('button', { class: 'kit-hold', type: 'button' }, 'Hold to talk');
    const down = on => { if (on !== s.held) { s.held = on; s.press(on ? 'talk' : 'release'); hold.dataset.held = on; hold.setAttribute('aria-pressed', on); } };
    hold.onpointerdown = event => { hold.setPointerCapture(event.pointerId); down(true); };
    hold.onpointerup = hold.onpointercancel = hold.onblur = () => down(false);
    hold.onkeydown = event => { if (event.key === ' ' && !event.repeat) { event.preventDefault(); event.stopPropagation(); down(true); } };
    hold.onkeyup = event => { if (event.key === ' ') { event.preventDefault(); down(false); } };
    const enable = element('button', { class: 'kit-enable', type: 'button', onclick: () => s.unblock() }, 'Click to enable sound');
    const word = element('span', { class: 'kit-word', role: 'status' });
    const device = element('select', { class: 'kit-device', 'aria-label': 'microphone', onchange: () => s.choose(device.value) });
    const you = new Meter('level of your microphone'), model_ = new Meter('level of what the model says');
    const level = (name, meter) => element('span', { class: 'kit-level' }, element('span', { class: 'kit-small' }, name), meter.el);
    const meters = element('div', { class: 'kit-row kit-meters' }, level('you', you), level('model', model_));
    const light = microphoneLight();
    const log = element('div', { class: 'kit-talk', role: 'log', tabindex: 0, 'aria-label': 'conversation', 'aria-live': 'off' });
    const empty = element('div', { class: 'kit-small' }, 'No turn yet.');
    const said = element('div', { class: 'kit-unseen', 'aria-live': 'polite' }); // finished turns, once each, for a screen reader
    const problem = element('div', { class: 'kit-problem', role: 'alert' });
    const box = element('textarea', { rows: 1, placeholder: 'Say something, then press Enter', 'aria-label': 'your next turn' });
    const send = element('button', { type: 'button', onclick: () => submit() }, 'Send');
    const clip = element('select', { 'aria-label': 'say a clip', onchange: () => { if (clip.value) s.clip(clip.value); clip.value = ''; } });
    const facts = element('div', { class: 'kit-small' });
    const typing = element('div', { class: 'kit-row kit-typing' }, box, send, clip);
    const root = element('div', { class: 'kit-sound kit-chat' },
      element('div', { class: 'kit-row' }, main, hold, enable, word, device, light.el), meters, problem, log, typing, facts, said);
    el.append(root);

    const submit = () => { // the box is read at the press: its text and the press are one message
      const text = box.value.trim();
      if (text) { s.say(text); box.value = ''; fit(); }
      box.focus();
    };
    const fit = () => { box.style.height = 'auto'; box.style.height = `${Math.min(box.scrollHeight + 2, 120)}px`; };
    box.oninput = fit;
    box.onkeydown = event => {
      event.stopPropagation(); // the notebook's own keys
      if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) { event.preventDefault(); submit(); }
    };

    const rows = []; // [node, what it shows]
    let clips = null, devices = null, done = null;
    const view = () => {
      const talking = s.state === 'talking';
      root.dataset.state = s.state === 'idle' ? 'idle' : 'recording';
      root.dataset.talk = s.talk;
      main.hidden = meters.hidden = !s.talk;
      main.textContent = s.state === 'idle' ? 'Start talking' : s.state === 'opening' ? 'Give up' : 'End talk';
      hold.hidden = !(s.manual && talking);
      enable.hidden = !s.blocked;
      word.textContent = s.word;
      word.dataset.word = s.word;
      talking ? (you.show(s.mine), model_.show(s.its)) : (you.clear(), model_.clear());
      problem.hidden = !s.problem; problem.textContent = s.problem || '';
      facts.textContent = s.facts;
      if (devices !== s.devices) { devices = s.devices; device.replaceChildren(...devices.map(([id, label]) => new Option(label, id))); }
      device.hidden = !s.talk || s.devices.length < 2;
      device.value = s.deviceId;
      if (clips !== s.clips) { clips = s.clips; clip.replaceChildren(new Option('… or say a clip', ''), ...clips.map(name => new Option(name, name))); }
      clip.hidden = !clips.length;
      draw();
    };
    const draw = () => {
      const follow = log.scrollTop + log.clientHeight >= log.scrollHeight - 24;
      while (rows.length > s.turns.length) rows.pop()[0].remove();
      let changed = false;
      s.turns.forEach((turn, n) => {
        const replaying = s.isReplaying?.(turn.id);
        if (rows[n]?.[1] === turn && rows[n]?.[2] === replaying) return;
        const node = turnNode(turn, replaying);
        rows[n] ? rows[n][0].replaceWith(node) : log.append(node);
        rows[n] = [node, turn, replaying];
        changed = true;
      });
      empty.hidden = rows.length > 0;
      if (!empty.parentNode) log.prepend(empty);
      if (changed && follow) log.scrollTop = log.scrollHeight;
      const finished = s.turns.filter(turn => turn.done).length;
      if (done !== null && finished > done) {
        const turn = s.turns.filter(each => each.done).at(-1);
        said.textContent = `${turn.who}${turn.badge ? `, ${turn.badge[0]}` : ''}: ${turn.text}`;
      }
      done = finished;
    };
    const turnNode = (turn, replaying) => {
      const body = element('span', { class: 'kit-said' });
      if (turn.badge) {
        const [name, sign, ground, ink] = turn.badge;
        const badge = element('span', { class: 'kit-badge' }, `${sign} ${name}`);
        badge.style.background = ground; badge.style.color = ink;
        body.append(badge, ' ');
      }
      body.append(turn.text.slice(0, turn.heard));
      if (turn.heard < turn.text.length) body.append(element('span', { class: turn.warn ? 'kit-unheard kit-cut' : 'kit-unheard', title: turn.warn ? 'was not heard' : 'not heard yet' }, turn.text.slice(turn.heard)));
      if (turn.note) body.append(' ', element('span', { class: 'kit-small' }, turn.note));
      if (turn.warn) body.append(' ', element('span', { class: 'kit-warn' }, turn.warn));
      const node = element('div', { class: 'kit-turn' }, element('span', {}, turn.who), body);
      if (turn.sound) node.append(element('button', { class: 'kit-replay', type: 'button', 'aria-label': replaying ? 'stop' : `hear ${turn.who === 'you' ? 'your turn' : 'the reply'} again`, onclick: () => s.replay(turn.id) }, replaying ? '■' : '▶'));
      return node;
    };
    views.add(view);
    s.view(1);
    view();
    return () => { views.delete(view); light.remove(); s.view(-1); };
  }

  return { initialize, render };
};
