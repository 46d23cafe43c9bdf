// Sound as it arrives, without a gap, and how much of it was heard. Shared by the player and the voice chat.

const RING = `
class Ring extends AudioWorkletProcessor {
  constructor({ processorOptions }) {
    super();
    this.prebuffer = processorOptions.prebuffer;
    this.pieces = []; this.at = 0; this.waiting = 0; this.played = 0; this.underruns = 0;
    this.flowing = false; this.ended = true; this.told = 0; this.peak = 0; this.fresh = false;
    this.port.onmessage = ({ data }) => {
      if (data.pcm) {
        this.pieces.push(new Int16Array(data.pcm)); this.waiting += data.pcm.byteLength / 2;
        if (this.ended) { this.ended = false; this.fresh = true; }
      } else if (data.end) this.ended = true;
      else if (data.stop !== undefined) {
        this.pieces = []; this.at = 0; this.waiting = 0; this.flowing = false; this.ended = true; this.fresh = false;
        this.tell({ stopped: data.stop });
      }
    };
  }
  tell(more) {
    this.port.postMessage({ played: this.played, waiting: this.waiting, underruns: this.underruns, peak: this.peak, ...more });
    this.peak = 0; this.told = currentFrame;
  }
  process(_inputs, [[out]]) {
    if (!this.flowing && (this.waiting >= this.prebuffer || (this.ended && this.waiting))) this.flowing = true;
    let n = 0;
    if (this.flowing) {
      while (n < out.length && this.pieces.length) {
        const piece = this.pieces[0], take = Math.min(out.length - n, piece.length - this.at);
        for (let k = 0; k < take; k++) { const x = piece[this.at + k] / 32768; out[n + k] = x; if (x > this.peak) this.peak = x; else if (-x > this.peak) this.peak = -x; }
        n += take; this.at += take;
        if (this.at === piece.length) { this.pieces.shift(); this.at = 0; }
      }
      this.played += n; this.waiting -= n;
      if (n && this.fresh) { this.fresh = false; this.tell({ began: true }); }
      if (n < out.length) { if (!this.ended) this.underruns += 1; this.flowing = false; this.tell({}); }
    }
    if (n && currentFrame - this.told > sampleRate / 20) this.tell({});
    return true;
  }
}
registerProcessor('kit-ring', Ring);`;

// A speaker. report({played, heard, waiting, underruns, peak, began?, stopped?}) is called as it goes; counts are samples.
class Playout {
  constructor(report, prebufferMs = 60) { this.report = report; this.prebufferMs = prebufferMs; this.early = []; }

  async open() {
    if (this.opening) return this.opening;
    return (this.opening = (async () => {
      const context = new AudioContext({ sampleRate: 24000, latencyHint: 'interactive' });
      const url = URL.createObjectURL(new Blob([RING], { type: 'text/javascript' }));
      try { await context.audioWorklet.addModule(url); } finally { URL.revokeObjectURL(url); }
      const node = new AudioWorkletNode(context, 'kit-ring', {
        numberOfInputs: 0, outputChannelCount: [1], processorOptions: { prebuffer: 24 * this.prebufferMs },
      });
      // What was played is heard when it has passed the context's and the device's buffers.
      node.port.onmessage = ({ data }) => this.heard(data);
      node.connect(context.destination);
      Object.assign(this, { context, node });
      this.early.forEach(each => this.post(each));
      this.early = [];
    })());
  }
  heard(data) { // all of it only when the last sample has had its time
    clearTimeout(this.later);
    if (!data.waiting && data.stopped === undefined)
      this.later = setTimeout(() => this.report({ ...data, began: false, peak: 0, heard: data.played }), 1000 * this.latencySeconds() + 20);
    this.report({ ...data, heard: Math.max(0, data.played - this.delay()) });
  }
  latencySeconds() { return (this.context.baseLatency || 0) + (this.context.outputLatency || 0); }
  delay() { return Math.round(24000 * this.latencySeconds()); }
  post(message) {
    if (!this.node) { this.early.push(message); return; }
    clearTimeout(this.later);
    this.node.port.postMessage(message, message.pcm ? [message.pcm] : []);
  }
  write(view) { this.post({ pcm: view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength) }); }
  end() { this.post({ end: true }); }
  stop(id) { this.node ? this.post({ stop: id }) : (this.early = [], this.report({ played: 0, heard: 0, waiting: 0, underruns: 0, peak: 0, stopped: id })); }
  get blocked() { return this.context?.state === 'suspended'; } // the browser wants a click first
  async unblock() { await this.open(); await this.context.resume(); }
  async close() { clearTimeout(this.later); await this.context?.close(); this.context = this.node = this.opening = null; }
}
