// The recorder's face. The kernel holds the clip; what is played back here is what the kernel has.

const MOST_UNCONFIRMED = 400; // blocks: Jupyter's message queues hold a thousand, and stall when they are full

export default () => {
  const s = { state: 'idle', status: '', seconds: 0, peak: 0, peaks: [], problem: null, clip: null, saved: null, live: false };
  const views = new Set();
  const redraw = () => views.forEach(view => view());
  let microphone = null, take = -1, starting = 0, sound = [], mine;
  let outbox = [], nSent = 0, nConfirmed = 0; // a kernel that is busy for a minute loses nothing: blocks wait here

  function initialize({ model }) {
    const set = changes => { Object.assign(s, changes); redraw(); };
    const tell = teller(model, () => mine.end('gone'));
    // Something but Stop ended the microphone: what was heard until then is kept, where there is still a kernel to keep it.
    mine = ownership(model, (why, words) => {
      const open = microphone;
      if (why === 'gone') {
        microphone = null;
        open?.drop();
        set({ state: 'idle', status: '', problem: words, peak: 0 });
      } else { s.why = words || null; stop(); }
    });
    const fail = ([why, words]) => { set({ state: 'idle', status: '', problem: words, peak: 0 }); tell({ kind: 'problem', why, words, take }); };

    async function start(number) {
      if (s.state !== 'idle') return;
      take = number; starting += 1;
      set({ state: 'starting', status: 'asking the browser for its microphone …', problem: null, saved: null, clip: null, peaks: [], seconds: 0 });
      const processing = {
        echoCancellation: model.get('echo_cancellation'), noiseSuppression: model.get('noise_suppression'),
        autoGainControl: model.get('auto_gain_control'),
      };
      const mark = starting, early = [];
      let told = false;
      try {
        const opened = await openMicrophone({
          rate: 24000, blockMs: model.get('block_ms'), processing,
          onBlock: block => (told ? send(block) : early.push(block)),
          onLost: () => mine.end('lost'),
        });
        if (mark !== starting) { opened.drop(); return; } // given up meanwhile
        microphone = opened;
        mine.own(true);
      } catch (error) { fail(error.told || explained(error)); return; }
      const { rate, label, settings } = microphone;
      outbox = []; nSent = nConfirmed = 0;
      const send = ({ pcm, seq, first, peak, last }) => {
        outbox.push([{ kind: 'pcm', take: number, seq, first, last }, pcm]);
        pump();
        s.seconds = (first + pcm.byteLength / 2) / rate; s.peak = peak; s.peaks.push(peak);
        redraw();
      };
      tell({ kind: 'started', take, rate, label, settings, asked: processing });
      told = true;
      early.forEach(send);
      set({ state: 'recording', status: '', applied: settings });
    }

    function pump() {
      while (outbox.length && nSent - nConfirmed < MOST_UNCONFIRMED) {
        const [content, pcm] = outbox.shift();
        tell(content, [pcm]);
        nSent += 1;
      }
    }

    async function stop() {
      if (s.state === 'starting') { starting += 1; fail(['given up', 'Stopped before the microphone was open.']); return; }
      if (!microphone) return;
      const open = microphone;
      microphone = null;
      mine.own(false);
      set({ state: 'stopping', status: 'waiting for the kernel to confirm …', peak: 0 });
      await open.stop();
    }

    async function upload(file) {
      set({ state: 'stopping', status: `reading ${file.name} …`, problem: null, clip: null, saved: null });
      const data = await file.arrayBuffer(), piece = 1 << 20, of = Math.max(1, Math.ceil(data.byteLength / piece));
      for (let n = 0; n < of; n++)
        tell({ kind: 'upload', name: file.name, n, of }, [data.slice(n * piece, (n + 1) * piece)]);
    }

    const on = {
      start: m => start(m.take),
      stop: () => stop(),
      got: m => { mine.answered(); if (m.take === take) { nConfirmed = Math.max(nConfirmed, m.n); pump(); } },
      hear: m => set({ seconds: m.seconds, peak: m.peak, peaks: [...s.peaks, m.peak] }), // the kernel's microphone, as it comes
      state: m => set({ state: m.state, status: m.status, problem: m.problem ?? s.problem, ...(m.state === 'recording' ? { peaks: [], clip: null, saved: null, problem: null } : {}) }),
      sound: (m, buffers) => { if (m.n === 0) sound = []; sound[m.n] = buffers[0]; },
      clip: m => {
        const parts = sound; sound = [];
        const bytes = new Uint8Array(parts.reduce((n, part) => n + part.byteLength, 0));
        parts.reduce((at, part) => (bytes.set(new Uint8Array(part.buffer, part.byteOffset, part.byteLength), at), at + part.byteLength), 0);
        const why = s.why; s.why = null;
        set({ state: 'idle', status: '', problem: why ? `${why} What was heard until then is kept.` : null, peak: 0, seconds: m.seconds, clip: { ...m, pcm: new Int16Array(bytes.buffer) } });
      },
      saved: m => set({ saved: m, status: '' }),
      problem: m => set({ problem: m.words, state: 'idle', status: '' }),
    };
    model.on('msg:custom', (message, buffers) => on[message.kind]?.(message, buffers));
    model.on('change:microphone', redraw);
    s.press = () => {
      if (s.state === 'idle') {
        set({ status: 'asking the kernel …' });
        if (!tell({ kind: 'press', what: 'record' })) set({ status: '', problem: WHY.gone });
      } else { stop(); tell({ kind: 'press', what: 'stop' }); } // first here: there may be no kernel any more
    };
    s.upload = upload;
    s.tell = tell;
    s.useKernel = () => { set({ problem: null }); tell({ kind: 'press', what: 'kernel' }); };
    const why = whyNoMicrophone();
    if (why && model.get('microphone') === 'browser') s.problem = why[1];
    tell({ kind: 'here', why: why?.[0] ?? null, words: why?.[1] ?? '' });
    s.view = change => mine.onView(change);
    return () => mine.dispose();
  }

  function render({ model, el }) {
    const main = element('button', { class: 'kit-main', onclick: () => s.press() });
    const time = element('span', { class: 'kit-time' });
    const meter = new Meter('level of the microphone');
    const status = element('span', { class: 'kit-small', role: 'status' });
    const wave = drawing(), light = microphoneLight();
    const file = element('input', { type: 'file', accept: 'audio/*,.wav,.flac,.ogg', hidden: '', onchange: () => { if (file.files[0]) s.upload(file.files[0]); file.value = ''; } });
    const other = element('button', { onclick: () => file.click() }, 'Upload a sound file');
    const kernel = element('button', { onclick: () => s.useKernel() }, 'Use the kernel’s microphone');
    const words = element('div');
    const problem = element('div', { class: 'kit-problem', role: 'alert' }, words, element('div', { class: 'kit-row' }, kernel));
    const otherwise = element('div', { class: 'kit-row' }, other, file);
    const facts = element('div', { class: 'kit-small' });
    const gaps = element('div', { class: 'kit-warn' });
    const player = element('div');
    const name = element('input', { type: 'text', placeholder: 'a name, such as my-question', 'aria-label': 'name of the clip' });
    const save = element('button', { onclick: () => s.tell({ kind: 'save', name: name.value.trim(), replace: save.dataset.replace === name.value.trim() }) }, 'Save');
    name.onkeydown = event => { event.stopPropagation(); if (event.key === 'Enter') save.click(); };
    name.oninput = () => view();
    const keep = element('div', { class: 'kit-row' }, name, save);
    const saved = element('div', { class: 'kit-small', role: 'status' });
    const root = element('div', { class: 'kit-sound kit-recorder' },
      element('div', { class: 'kit-row' }, main, time, meter.el, status, light.el), wave.el, problem, otherwise, player, gaps, facts, keep, saved);
    el.append(root);

    let shown = null, url = null;
    const view = () => {
      root.dataset.state = s.state;
      const [idle, recording] = [s.state === 'idle', s.state === 'recording'];
      main.textContent = recording ? 'Stop' : s.state === 'starting' ? 'Give up' : s.clip ? 'Record again' : 'Record';
      main.disabled = s.state === 'stopping';
      time.textContent = clock(s.seconds);
      recording ? meter.show(s.peak) : meter.clear();
      status.textContent = s.status;
      problem.hidden = !s.problem;
      otherwise.hidden = !(s.problem || idle && !s.clip);
      words.textContent = s.problem || '';
      kernel.hidden = model.get('microphone') === 'kernel';
      const clip = s.clip;
      gaps.hidden = !clip?.gaps.length; facts.hidden = keep.hidden = player.hidden = !clip; saved.hidden = !s.saved;
      if (recording || !clip) { drawPeaks(wave, s.peaks); wave.el.toggleAttribute('hidden', !s.peaks.length); }
      if (clip && clip !== shown) {
        wave.el.toggleAttribute('hidden', false);
        drawSamples(wave, clip.pcm, clip.gaps, clip.seconds);
        if (url) URL.revokeObjectURL(url);
        url = URL.createObjectURL(wav(clip.pcm));
        player.replaceChildren(element('audio', { controls: '', src: url }));
        facts.textContent = clip.facts;
        name.value = ''; // the one before it is that of another clip
        gaps.textContent = clip.gaps.map(([at, long]) => `${Math.round(long)} ms missing at ${(at / 1000).toFixed(2)} s`).join(' · ') + ': silence stands in for it';
      }
      shown = clip;
      save.disabled = !name.value.trim();
      saved.textContent = s.saved ? s.saved.words : '';
      saved.className = s.saved?.ok ? 'kit-small' : 'kit-warn';
      save.dataset.replace = s.saved?.taken ?? '';
      save.textContent = s.saved?.taken && s.saved.taken === name.value.trim() ? 'Replace it' : 'Save';
    };
    views.add(view);
    s.view(1);
    view();
    return () => { views.delete(view); light.remove(); s.view(-1); if (url) URL.revokeObjectURL(url); };
  }

  return { initialize, render };
};

// --- pictures and files

const WIDE = 480, HIGH = 64, MIDDLE = HIGH / 2;

function drawing() { // in the colour of the text, whatever the theme becomes
  const svg = (tag, attributes) => {
    const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  const el = svg('svg', { class: 'kit-wave', viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': 'waveform' });
  const missing = svg('path', { fill: '#d55e00', opacity: 0.5 }), line = svg('path', { stroke: 'currentColor', fill: 'none', opacity: 0.8 });
  el.append(missing, line);
  return { el, missing, line };
}

function drawPeaks({ missing, line }, peaks) { // two pixels a block, the newest at the right
  missing.setAttribute('d', '');
  line.setAttribute('stroke-width', 1.5);
  line.setAttribute('d', peaks.slice(-WIDE / 2).map((peak, n) => {
    const half = Math.max(0.5, peak * MIDDLE);
    return `M${2 * n + 1} ${(MIDDLE - half).toFixed(1)}v${(2 * half).toFixed(1)}`;
  }).join(''));
}

function drawSamples({ missing, line }, pcm, gaps, seconds) { // lowest and highest sample of each pixel
  missing.setAttribute('d', gaps.map(([at, long]) =>
    `M${(at / 1000 / seconds) * WIDE} 0h${Math.max(2, (long / 1000 / seconds) * WIDE)}v${HIGH}H${(at / 1000 / seconds) * WIDE}z`).join(''));
  const marks = [];
  for (let n = 0; n < WIDE; n++) {
    let low = 0, high = 0;
    for (let k = Math.floor((n * pcm.length) / WIDE); k < Math.floor(((n + 1) * pcm.length) / WIDE); k++) {
      if (pcm[k] < low) low = pcm[k];
      if (pcm[k] > high) high = pcm[k];
    }
    marks.push(`M${n + 0.5} ${(MIDDLE - (high / 32768) * MIDDLE - 0.5).toFixed(1)}V${(MIDDLE - (low / 32768) * MIDDLE + 0.5).toFixed(1)}`);
  }
  line.setAttribute('stroke-width', 0.75);
  line.setAttribute('d', marks.join(''));
}

function wav(pcm) {
  const head = new DataView(new ArrayBuffer(44)), text = (at, word) => [...word].forEach((c, n) => head.setUint8(at + n, c.charCodeAt(0)));
  text(0, 'RIFF'); head.setUint32(4, 36 + pcm.byteLength, true); text(8, 'WAVEfmt ');
  head.setUint32(16, 16, true); head.setUint16(20, 1, true); head.setUint16(22, 1, true);
  head.setUint32(24, 24000, true); head.setUint32(28, 48000, true); head.setUint16(32, 2, true); head.setUint16(34, 16, true);
  text(36, 'data'); head.setUint32(40, pcm.byteLength, true);
  return new Blob([head, pcm], { type: 'audio/wav' });
}
