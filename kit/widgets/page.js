// What every widget's page shares. Several widgets live in one page, each with a copy of this file: what they must agree on
// (who has the microphone) is kept on `window`.

const desk = (window.kitMicrophone ||= { owner: null, lights: new Set() });
const relight = () => desk.lights.forEach(light => light());

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes))
    key.startsWith('on') ? (node[key] = value) : node.setAttribute(key, value);
  node.append(...children);
  return node;
}

// A red line that stands on each widget of the kit while a microphone is open in this page; pressing it ends that.
function microphoneLight() {
  const node = element('button', { class: 'kit-open', type: 'button', title: 'end it', onclick: () => desk.owner?.end('closed') }, '● microphone open');
  const light = () => { node.hidden = !desk.owner; };
  desk.lights.add(light);
  light();
  return { el: node, remove: () => desk.lights.delete(light) };
}

// The picture of a widget's state that stands beside it is for a notebook without a kernel: hidden as long as one answers.
function hideSnapshot(model, id) {
  const style = element('style', {}, `.jp-OutputArea-child:has([data-kit-snapshot="${id}"]), [data-kit-snapshot="${id}"] { display: none; }`);
  document.head.append(style);
  model.on('comm_live_update destroy', () => style.remove());
}

// Send a message to the kernel; false where there is none any more.
function teller(model, gone) {
  model.on('msg:custom', message => { if (message.kind === 'live') hideSnapshot(model, message.id); });
  return (content, buffers = []) => {
    try { model.send(content, undefined, buffers); return true; } catch { gone?.(); return false; }
  };
}

const decibels = peak => (peak > 0 ? 20 * Math.log10(peak) : -Infinity);
const clock = s => { const tenths = Math.round(10 * s); return `${Math.floor(tenths / 600)}:${((tenths % 600) / 10).toFixed(1).padStart(4, '0')}`; };

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
