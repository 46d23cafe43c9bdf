// The microphone as numbered blocks of int16 samples. Shared by the recorder and the voice chat; nothing is fetched.

const TAP = `
class Tap extends AudioWorkletProcessor {
  constructor({ processorOptions }) {
    super();
    this.block = new Int16Array(processorOptions.samples);
    this.filled = 0; this.seq = 0; this.first = 0; this.peak = 0;
    this.port.onmessage = () => { this.stopping = true; };
  }
  send(last) {
    const pcm = this.block.slice(0, this.filled);
    this.port.postMessage({ pcm: pcm.buffer, seq: this.seq++, first: this.first, peak: this.peak, last }, [pcm.buffer]);
    this.first += this.filled; this.filled = 0; this.peak = 0;
  }
  process(inputs) {
    if (this.done) return false; // a node with an input is called again whatever it returns
    const samples = inputs[0][0];
    if (samples) for (const x of samples) {
      const y = Math.max(-1, Math.min(1, x));
      this.peak = Math.max(this.peak, Math.abs(y));
      this.block[this.filled++] = Math.max(-32768, Math.min(32767, Math.round(y * 32768)));
      if (this.filled === this.block.length) this.send(false);
    }
    if (this.stopping) { this.done = true; this.send(true); }
    return true;
  }
}
registerProcessor('kit-tap', Tap);`;

// Why a microphone cannot be had, in words a reader can act on; null where nothing speaks against trying.
function whyNoMicrophone() {
  if (location.protocol === 'vscode-webview:' || document.body.dataset.vscodeThemeId || document.body.dataset.vscodeThemeKind)
    return ['vscode', 'VS Code’s notebooks cannot open a microphone (microsoft/vscode#119127). Open this notebook in JupyterLab.'];
  if (!window.isSecureContext || !navigator.mediaDevices?.getUserMedia)
    return ['insecure', `This page came over plain HTTP (${location.host}), and browsers give a microphone only to https and to localhost. ` +
      `Reach it through a tunnel: ssh -L 8888:localhost:8888 … and open http://localhost:8888.`];
  return null;
}

function explained(error) {
  const named = {
    NotAllowedError: ['denied', 'The browser was not allowed to use the microphone. Allow it for this page (the icon beside the address), then press Record again.'],
    SecurityError: ['denied', 'The browser’s settings forbid the microphone on this page.'],
    NotFoundError: ['none', 'The browser finds no microphone. Plug one in, then press Record again.'],
    NotReadableError: ['busy', 'The microphone is there, but another program or tab holds it. Close that, then press Record again.'],
    OverconstrainedError: ['none', 'The microphone that was asked for is not there.'],
  }[error.name];
  return named || [error.name, `The microphone could not be opened: ${error.name}, ${error.message}`];
}

// Open it. onBlock gets {pcm: ArrayBuffer, seq, first, peak (0…1), last}; onLost is called when the device goes away.
async function openMicrophone({ rate, blockMs, processing, onBlock, onLost }) {
  const problem = whyNoMicrophone();
  if (problem) throw Object.assign(new Error(problem[1]), { told: problem });
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, ...processing } });
  } catch (error) {
    throw Object.assign(error, { told: explained(error) });
  }
  const [track] = stream.getAudioTracks();
  let context, source, tap;
  try {
    try {
      context = new AudioContext({ sampleRate: rate, latencyHint: 'interactive' });
      source = context.createMediaStreamSource(stream);
    } catch { // Firefox joins no microphone to a context of another rate: take its own, the kernel resamples
      await context?.close();
      context = new AudioContext({ latencyHint: 'interactive' });
      source = context.createMediaStreamSource(stream);
    }
    const url = URL.createObjectURL(new Blob([TAP], { type: 'text/javascript' }));
    try { await context.audioWorklet.addModule(url); } finally { URL.revokeObjectURL(url); }
    await context.resume();
    tap = new AudioWorkletNode(context, 'kit-tap', {
      numberOfOutputs: 1, processorOptions: { samples: Math.round((context.sampleRate * blockMs) / 1000) },
    });
  } catch (error) { // a microphone that nobody listens to must not stay open
    track.stop();
    await context?.close();
    throw error;
  }
  let ended, seq = 0, first = 0;
  const over = new Promise(done => { ended = done; });
  tap.port.onmessage = ({ data }) => {
    seq = data.seq + 1; first = data.first + data.pcm.byteLength / 2;
    onBlock(data);
    if (data.last) ended();
  };
  track.onended = () => onLost?.();
  source.connect(tap).connect(context.destination); // it puts out silence; unconnected it would not run
  const kept = ({ deviceId, groupId, ...rest }) => rest; // those two would follow a reader from page to page
  return {
    rate: context.sampleRate, label: track.label, settings: kept(track.getSettings()),
    setEnabled(on) { track.enabled = on; },
    async stop() {
      const late = setTimeout(() => { // an audio thread that no longer answers: say that this was all
        onBlock({ pcm: new ArrayBuffer(0), seq, first, peak: 0, last: true }); ended();
      }, 2000);
      tap.port.postMessage('stop');
      await over;
      clearTimeout(late);
      tap.port.onmessage = null;
      track.onended = null;
      stream.getTracks().forEach(each => each.stop());
      await context.close();
    },
  };
}

// Small things that every face has.
const decibels = peak => (peak > 0 ? 20 * Math.log10(peak) : -Infinity);
const clock = s => { const tenths = Math.round(10 * s); return `${Math.floor(tenths / 600)}:${((tenths % 600) / 10).toFixed(1).padStart(4, '0')}`; };

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes))
    key.startsWith('on') ? (made[key] = value) : made.setAttribute(key, value);
  made.append(...children);
  return made;
}

class Meter { // −60 … 0 dBFS, with a mark that falls slowly from the highest
  constructor(label) {
    this.bar = element('div', { class: 'kit-meter-bar' });
    this.mark = element('div', { class: 'kit-meter-mark' });
    this.el = element('div', { class: 'kit-meter', role: 'meter', 'aria-label': label, 'aria-valuemin': -60, 'aria-valuemax': 0 }, this.bar, this.mark);
    this.held = 0;
  }
  show(peak) {
    const db = decibels(peak), part = Math.max(0, Math.min(1, 1 + db / 60));
    this.held = Math.max(part, this.held - 0.01);
    this.bar.style.width = `${100 * part}%`;
    this.mark.style.left = `${100 * this.held}%`;
    this.el.dataset.loud = db > -3;
    this.el.setAttribute('aria-valuenow', Math.round(Math.max(-60, db)));
  }
  clear() { this.held = 0; this.show(0); }
}
