// The microphone as numbered blocks of int16 samples, for the recorder and the conversation. It has one owner in a page, and an end:
//
//   what happens                          how it is seen                              the microphone
//   ------------------------------------  ------------------------------------------  ------------------------------
//   Stop, End, or the red light           a press                                     ends at once, kernel or none
//   another widget opens it               `desk.owner`                                ends at once
//   the cell is run again, outputs are    the widget's last view is removed           ends after LEFT_MS without one
//   cleared, the notebook's tab closed
//   the kernel restarts or is shut down   sending throws; `comm_live_update`          ends at once
//   the kernel answers nothing            no `got` for SILENT_MS                      ends
//   the page is hidden                    `visibilitychange`                          ends after HIDDEN_MS
//   the page is left or reloaded          `pagehide`                                  ends at once
//   the device is unplugged               the track's `ended`                         ends at once

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
const LEFT_MS = 2500, HIDDEN_MS = 10000, SILENT_MS = 20000;
const WHY = {
  closed: '',
  taken: 'Another widget of this page took the microphone.',
  left: 'The widget was taken away, and its microphone is closed.',
  gone: 'The kernel is gone, and the microphone is closed. Start the kernel and run the cells again.',
  silent: 'The kernel does not answer, and the microphone is closed.',
  hidden: 'This page was hidden for 10 s, and the microphone is closed.',
  lost: 'The microphone went away. Plug it in and start again.',
};

// Watches what may end a widget's microphone. `owner.end(why)` is called once for each opening; `own(true)` when one begins.
function ownership(model, end) {
  let views = 0, later = null, hidden = null, heard = 0, beat = null;
  const owner = { end: why => { if (desk.owner === owner) { own(false); end(why, WHY[why]); } } };
  const own = on => {
    if (on && desk.owner !== owner) desk.owner?.end('taken');
    if (on) desk.owner = owner; else if (desk.owner === owner) desk.owner = null;
    heard = performance.now();
    clearInterval(beat);
    if (on) {
      beat = setInterval(() => { if (performance.now() - heard > SILENT_MS) owner.end('silent'); }, 1000);
      if (!views) onView(0); // recorded without a picture of it: somebody must look within a moment
    }
    relight();
  };
  const onView = change => {
    views += change;
    clearTimeout(later);
    if (!views) later = setTimeout(() => owner.end('left'), LEFT_MS);
  };
  const onVisible = () => {
    clearTimeout(hidden);
    if (document.hidden) hidden = setTimeout(() => owner.end('hidden'), HIDDEN_MS);
  };
  const onLeave = () => owner.end('left');
  document.addEventListener('visibilitychange', onVisible);
  window.addEventListener('pagehide', onLeave);
  model.on('comm_live_update', () => owner.end('gone'));
  return {
    own, onView, end: owner.end,
    answered: () => { heard = performance.now(); }, // the kernel confirmed that sound came
    dispose: () => {
      owner.end('left');
      document.removeEventListener('visibilitychange', onVisible);
      window.removeEventListener('pagehide', onLeave);
    },
  };
}

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
    NotAllowedError: ['denied', 'The browser was not allowed to use the microphone. Allow it for this page (the icon beside the address), then try again.'],
    SecurityError: ['denied', 'The browser’s settings forbid the microphone on this page.'],
    NotFoundError: ['none', 'The browser finds no microphone. Plug one in, then try again.'],
    NotReadableError: ['busy', 'The microphone is there, but another program or tab holds it. Close that, then try again.'],
    OverconstrainedError: ['none', 'The microphone that was asked for is not there.'],
  }[error.name];
  return named || [error.name, `The microphone could not be opened: ${error.name}, ${error.message}`];
}

// Open it. onBlock gets {pcm: ArrayBuffer, seq, first, peak (0…1), last}; onLost is called when the device goes away.
async function openMicrophone({ rate, blockMs, processing, deviceId, onBlock, onLost }) {
  const problem = whyNoMicrophone();
  if (problem) throw Object.assign(new Error(problem[1]), { told: problem });
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, ...processing, ...(deviceId ? { deviceId } : {}) } });
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
  } catch (error) { // a microphone without a listener must not stay open
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
    deviceId: track.getSettings().deviceId,
    drop() { stream.getTracks().forEach(each => each.stop()); tap.port.onmessage = track.onended = null; context.close(); },
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
