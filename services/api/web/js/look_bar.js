// What is shown while somebody looks through a camera: whose, the next ones, and how clear its photo is.

import { h } from './dom.js';

/** The bar at the foot of the scene. */
export class LookBar {
  /**
   * @param {{ next: (step: number) => void, leave: () => void, fade: () => void }} actions
   */
  constructor({ next, leave, fade }) {
    this.name = h('span', { class: 'who' });
    this.slider = h('input', { type: 'range', min: 0, max: 100, value: 0, id: 'photo-opacity', oninput: fade });
    this.element = h(
      'div',
      { class: 'over bottom', role: 'group', 'aria-label': 'Camera', hidden: true },
      this.name,
      h('label', {}, 'Photo', this.slider),
      h('button', { type: 'button', 'aria-label': 'Previous camera', 'aria-keyshortcuts': 'p', onclick: () => next(-1) }, '‹'),
      h('button', { type: 'button', 'aria-label': 'Next camera', 'aria-keyshortcuts': 'n', onclick: () => next(1) }, '›'),
      h('button', { type: 'button', id: 'leave', 'aria-keyshortcuts': 'Escape', onclick: leave }, 'Leave'),
    );
  }

  /** How clear the photo is, from 0 (the points alone) to 1. */
  get opacity() {
    return Number(this.slider.value) / 100;
  }

  /** @param {string | null} name null: nobody looks */
  show(name) {
    this.element.hidden = name === null;
    this.name.textContent = name ?? '';
  }
}
