// The knobs of the scene: colour, confidence, point size, cameras, and the part that is shown.

import { fill, h } from './dom.js';
import { quantile } from './statistics.js';

/**
 * @typedef {object} Values
 * @property {'photo' | 'confidence'} colour
 * @property {number} hide share of the points that is hidden, the least sure first; 0 to 0.95
 * @property {number} threshold the confidence that comes to
 * @property {number[]} range confidences at the ends of the colour scale
 * @property {number} size CSS pixels
 * @property {boolean} cameras
 * @property {number} component
 */

const SMALLEST = 0.5;
const LARGEST = 10;
const STEPS = 100;

/** Knobs in a section of the panel. */
export class SceneControls {
  /**
   * @param {HTMLElement} section
   * @param {(values: Values) => void} onChange
   */
  constructor(section, onChange) {
    this.section = section;
    this.onChange = onChange;
    /** @type {Values} */
    this.values = { colour: 'photo', hide: 0, threshold: -1e30, range: [0, 1], size: 2, cameras: true, component: 0 };
    /** @type {ArrayLike<number>} */
    this.sorted = [];
  }

  /**
   * Show the knobs for a cloud.
   * @param {import('./statistics.js').CloudSample} sample
   * @param {number} points on the screen
   * @param {number} area of the screen, in CSS pixels
   */
  show(sample, points, area) {
    this.sorted = sample.confidences();
    this.values.range = [quantile(this.sorted, 0.02), quantile(this.sorted, 0.98)];
    this.values.size = Math.min(Math.max(2.7 * Math.sqrt((0.35 * area) / points), 1.4), 5);
    this.build(sample.components());
    this.section.hidden = false;
    this.set({});
  }

  /**
   * Turn knobs from elsewhere.
   * @param {Partial<Values>} changes
   */
  set(changes) {
    Object.assign(this.values, changes);
    const { values } = this;
    values.size = Math.min(Math.max(values.size, SMALLEST), LARGEST);
    values.threshold = values.hide > 0 ? quantile(this.sorted, values.hide) : -1e30;
    this.reflect();
    this.onChange(values);
  }

  /** @param {number[]} components */
  build(components) {
    this.colours = ['photo', 'confidence'].map((name) => h('input', { type: 'radio', name: 'colour', value: name, onchange: () => this.set({ colour: /** @type {any} */ (name) }) }));
    this.legend = h('div', { class: 'legend' }, h('i', {}));
    this.hide = h('input', { type: 'range', id: 'hide', min: 0, max: 95, step: 1, oninput: () => this.set({ hide: Number(this.hide.value) / 100 }) });
    this.hideSaid = h('output', { for: 'hide' });
    this.size = h('input', { type: 'range', id: 'size', min: 0, max: STEPS, step: 1, oninput: () => this.set({ size: fromStep(Number(this.size.value)) }) });
    this.sizeSaid = h('output', { for: 'size' });
    this.cameras = h('input', { type: 'checkbox', id: 'cameras', onchange: () => this.set({ cameras: this.cameras.checked }) });
    this.parts = components.map((part) => h('input', { type: 'radio', name: 'part', value: part, onchange: () => this.set({ component: part }) }));
    const [photo, confidence] = this.colours;
    fill(
      this.section,
      h('h2', {}, 'View'),
      h('fieldset', { class: 'field' }, h('legend', { class: 'away' }, 'Colour'), h('div', { class: 'segments' }, h('label', {}, photo, h('span', {}, 'Photo colours')), h('label', {}, confidence, h('span', {}, 'Confidence')))),
      this.legend,
      h('label', { class: 'slider' }, h('span', {}, 'Hide the least sure', this.hideSaid), this.hide),
      h('label', { class: 'slider' }, h('span', {}, 'Point size', this.sizeSaid), this.size),
      h('label', { class: 'toggle' }, this.cameras, 'Show the cameras'),
      components.length > 1 && this.partChoice(components),
    );
  }

  /** @param {number[]} components */
  partChoice(components) {
    const labels = components.map((part, i) => h('label', {}, this.parts?.[i], h('span', {}, String(part + 1))));
    return h('fieldset', { class: 'field' }, h('legend', {}, 'The photos fall into parts; show part'), h('div', { class: 'segments' }, ...labels));
  }

  /** Show the values on the knobs. */
  reflect() {
    if (!this.colours) return;
    const { colour, hide, threshold, size, cameras, component } = this.values;
    for (const input of this.colours) input.checked = input.value === colour;
    for (const input of this.parts ?? []) input.checked = Number(input.value) === component;
    this.legend.hidden = colour !== 'confidence';
    this.hide.value = String(Math.round(hide * 100));
    this.hideSaid.value = hide ? `${Math.round(hide * 100)} % · below ${threshold.toFixed(2)}` : 'nothing hidden';
    this.hide.setAttribute('aria-valuetext', this.hideSaid.value);
    this.size.value = String(toStep(size));
    this.sizeSaid.value = `${size.toFixed(1)} px`;
    this.size.setAttribute('aria-valuetext', this.sizeSaid.value);
    this.cameras.checked = cameras;
  }
}

/** @param {number} step each makes points larger by the same factor */
function fromStep(step) {
  return SMALLEST * (LARGEST / SMALLEST) ** (step / STEPS);
}

/** @param {number} size */
function toStep(size) {
  return Math.round((STEPS * Math.log(size / SMALLEST)) / Math.log(LARGEST / SMALLEST));
}
