// The player's face: replies are heard while they arrive, and a press stops them.

export default () => {
  const s = { heard: 0, written: 0, peak: 0, playing: false, blocked: false, words: '', cut: null }; // cut: what had been heard when it was stopped, as the server was told
  const views = new Set();
  const redraw = () => views.forEach(view => view());
  let written = 0;

  function initialize({ model }) {
    const tell = teller(model);
    const out = new Playout(told => {
      Object.assign(s, { heard: told.heard / 24000, peak: told.peak, playing: told.waiting > 0 || told.heard < told.played && told.stopped === undefined });
      if (told.stopped !== undefined) { written = told.played; s.playing = false; s.cut = s.heard; }
      tell({ kind: 'heard', ...told });
      redraw();
    }, model.get('prebuffer_ms'));
    const on = {
      sound: async (_m, [pcm]) => {
        written += pcm.byteLength / 2; s.playing = true; s.cut = null; s.words = '';
        out.write(pcm);
        await out.open();
        s.blocked = out.blocked;
        redraw();
      },
      end: () => out.end(),
      stop: m => out.stop(m.id),
      words: m => { s.words = m.words; redraw(); },
    };
    model.on('msg:custom', (message, buffers) => on[message.kind]?.(message, buffers));
    s.unblock = async () => { await out.unblock(); s.blocked = out.blocked; redraw(); };
    s.stop = () => { if (!tell({ kind: 'press', what: 'stop' })) out.stop(0); }; // no kernel any more: silence all the same
    s.total = () => written / 24000;
    tell({ kind: 'here' });
    return () => { out.close(); };
  }

  function render({ el }) {
    const stop = element('button', { onclick: () => s.stop() }, 'Stop');
    const enable = element('button', { class: 'kit-enable', onclick: () => s.unblock() }, 'Click to enable sound');
    const time = element('span', { class: 'kit-time' });
    const meter = new Meter('level of what is played');
    const words = element('span', { class: 'kit-small', role: 'status' });
    const light = microphoneLight();
    const root = element('div', { class: 'kit-sound kit-player' }, element('div', { class: 'kit-row' }, stop, enable, time, meter.el, words, light.el));
    el.append(root);
    const view = () => {
      root.dataset.state = s.playing ? 'playing' : 'idle';
      stop.disabled = !s.playing;
      enable.hidden = !s.blocked;
      time.textContent = `${clock(s.cut ?? s.heard)} of ${clock(s.total())} heard`;
      s.playing ? meter.show(s.peak) : meter.clear();
      words.textContent = s.words;
    };
    views.add(view);
    view();
    return () => { views.delete(view); light.remove(); };
  }

  return { initialize, render };
};
