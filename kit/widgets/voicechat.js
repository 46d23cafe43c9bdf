// The voice chat's face, and the page's microphone and speaker where they are the ones that are used.

export default () => {
  const s = { state: 'idle', html: '', facts: '', problem: null, mine: 0, its: 0, manual: false, blocked: false, held: false };
  const views = new Set();
  const redraw = () => views.forEach(view => view());
  let microphone = null, opening = 0, out = null;

  function initialize({ model }) {
    const tell = (content, buffers = []) => model.send(content, undefined, buffers);
    const set = changes => { Object.assign(s, changes); redraw(); };
    const speaker = () => out || (out = new Playout(told => { s.its = told.peak; tell({ kind: 'heard', ...told }); redraw(); }, model.get('prebuffer_ms')));

    async function open(m) {
      const mine = ++opening;
      try {
        await speaker().open();
        const opened = await openMicrophone({
          rate: 24000, blockMs: 40, processing: m.processing,
          onBlock: ({ pcm, first, peak }) => {
            s.mine = peak;
            if (pcm.byteLength) tell({ kind: 'pcm', first }, [pcm]);
            redraw();
          },
          onLost: () => tell({ kind: 'problem', words: 'The microphone went away. Plug it in and press Start.' }),
        });
        if (mine !== opening) { await opened.stop(); return; }
        if (opened.rate !== 24000) {
          await opened.stop();
          tell({ kind: 'problem', words: `This browser records at ${opened.rate} Hz only; talk in Chromium or Chrome, or with VoiceChat(session, where="kernel").` });
          return;
        }
        microphone = opened;
        set({ blocked: speaker().blocked });
        tell({ kind: 'opened', settings: opened.settings, label: opened.label });
      } catch (error) { tell({ kind: 'problem', words: (error.told || explained(error))[1] }); }
    }

    async function close() {
      opening += 1;
      const open = microphone;
      microphone = null;
      await open?.stop();
      set({ mine: 0, its: 0 });
    }

    const on = {
      open, close,
      sound: (_m, [pcm]) => speaker().write(pcm),
      end: () => speaker().end(),
      stop: m => speaker().stop(m.id),
      view: m => set({ html: m.html, facts: m.facts, state: m.state, manual: m.manual, problem: m.problem }),
      levels: m => set({ mine: m.mine, its: m.its }),
    };
    model.on('msg:custom', (message, buffers) => on[message.kind]?.(message, buffers));
    s.press = what => tell({ kind: 'press', what });
    s.unblock = async () => { await speaker().unblock(); set({ blocked: false }); };
    tell({ kind: 'here' });
    return () => { microphone?.stop(); out?.close(); };
  }

  function render({ el }) {
    const main = element('button', { class: 'kit-main', onclick: () => s.press(s.state === 'idle' ? 'start' : 'stop') });
    const hold = element('button', { class: 'kit-hold' }, 'Hold to talk');
    const down = on => { if (on !== s.held) { s.held = on; s.press(on ? 'talk' : 'release'); hold.dataset.held = on; } };
    hold.onpointerdown = event => { hold.setPointerCapture(event.pointerId); down(true); };
    hold.onpointerup = hold.onpointercancel = hold.onblur = () => down(false);
    hold.onkeydown = event => { if (event.key === ' ' && !event.repeat) { event.preventDefault(); event.stopPropagation(); down(true); } };
    hold.onkeyup = event => { if (event.key === ' ') { event.preventDefault(); down(false); } };
    const enable = element('button', { class: 'kit-enable', onclick: () => s.unblock() }, 'Click to enable sound');
    const mine = new Meter('level of your microphone'), its = new Meter('level of what the model says');
    const log = element('div', { class: 'kit-talk', role: 'log', 'aria-live': 'polite' });
    const problem = element('div', { class: 'kit-problem', role: 'alert' });
    const facts = element('div', { class: 'kit-small' });
    const meters = element('div', { class: 'kit-row' }, element('span', { class: 'kit-small' }, 'you'), mine.el, element('span', { class: 'kit-small' }, 'model'), its.el);
    const root = element('div', { class: 'kit-sound kit-voice' }, element('div', { class: 'kit-row' }, main, hold, enable), meters, problem, log, facts);
    el.append(root);
    let shown = null;
    const view = () => {
      root.dataset.state = s.state === 'idle' ? 'idle' : 'recording';
      main.textContent = s.state === 'idle' ? 'Start talking' : s.state === 'opening' ? 'Give up' : 'End';
      hold.hidden = !(s.manual && s.state === 'talking');
      enable.hidden = !s.blocked;
      s.state === 'talking' ? (mine.show(s.mine), its.show(s.its)) : (mine.clear(), its.clear());
      problem.hidden = !s.problem; problem.textContent = s.problem || '';
      if (s.html !== shown) { shown = s.html; log.innerHTML = s.html; log.scrollTop = log.scrollHeight; } // escaped by the kernel
      log.hidden = !s.html;
      facts.textContent = s.facts;
    };
    views.add(view);
    view();
    return () => views.delete(view);
  }

  return { initialize, render };
};
