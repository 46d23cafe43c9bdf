// The strips of a ledger. Everything in the kernel's HTML is escaped there (`show.esc`); a click asks for a trial's card.

export default {
  render({ model, el }) {
    const tell = teller(model);
    let ids = [], at = -1;
    const picture = element('div', { class: 'kit-strips' });
    const number = element('input', { type: 'number', min: 0, 'aria-label': 'number of the trial', onchange: () => open(Number(number.value)) });
    const back = element('button', { type: 'button', 'aria-label': 'the trial before it', onclick: () => open(at - 1) }, '←');
    const on = element('button', { type: 'button', 'aria-label': 'the next trial', onclick: () => open(at + 1) }, '→');
    const hint = element('span', { class: 'kit-small' }, 'Click a strip, or choose a number, to see and hear that trial.');
    const card = element('div', { 'aria-live': 'polite' });
    const light = microphoneLight();
    el.append(element('div', { class: 'kit-sound kit-trials' }, picture, element('div', { class: 'kit-row' }, element('span', {}, 'trial'), number, back, on, hint, light.el), card));

    function open(n) {
      if (!(n >= 0 && n < ids.length)) return;
      at = n;
      number.value = n;
      picture.querySelectorAll('[data-chosen]').forEach(strip => { delete strip.dataset.chosen; });
      strips(ids[n]).forEach(strip => { strip.dataset.chosen = true; });
      if (!tell({ kind: 'open', id: ids[n] })) card.textContent = 'The kernel is gone: run the cells again.';
    }
    const strips = id => picture.querySelectorAll(`a[*|href$="trial-${CSS.escape(id)}"]`);
    picture.onclick = event => {
      const href = event.target.closest('a')?.getAttribute('xlink:href');
      if (!href) return;
      event.preventDefault();
      event.stopPropagation(); // JupyterLab would look for a heading of that name
      open(ids.indexOf(href.split('trial-').at(-1)));
    };
    number.onkeydown = event => event.stopPropagation(); // the notebook's own keys

    const take = message => {
      if (message.kind === 'picture') {
        picture.innerHTML = message.html;
        ids = message.ids;
        number.max = ids.length - 1;
        ids.forEach((id, n) => strips(id).forEach(strip => strip.setAttribute('aria-label', `trial ${n}`)));
      } else if (message.kind === 'card') card.innerHTML = message.html;
    };
    model.on('msg:custom', take);
    tell({ kind: 'here' });
    return () => { model.off('msg:custom', take); light.remove(); };
  },
};
