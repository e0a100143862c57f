// The scene of a result: the cloud as it comes in, the cameras with their photos, and looking through them.

import { Cloud } from './cloud.js';
import { announce, fill, h } from './dom.js';
import { formatCount } from './format.js';
import { Frusta } from './frusta.js';
import { LookBar } from './look_bar.js';
import { fetchPicture, fetchPictures } from './pictures.js';
import { cameraSize, readCameras } from './poses.js';
import { SceneControls } from './scene_controls.js';
import { here, wordsOf } from './service.js';
import { CloudSample } from './statistics.js';
import { Viewer, hasWebGL } from './viewer.js';

const MANY = 4_000_000; // points on a screen; a card holds 28 bytes of each
const FEWER = 1_200_000; // on a phone

/** Says `look` when another camera, or none, is looked through. */
export class SceneView extends EventTarget {
  /**
   * @param {{ stage: HTMLElement, controls: HTMLElement }} places
   * @param {{ artifacts: Record<string, string>, thumbnails: Record<string, string> }} links
   */
  constructor(places, links) {
    super();
    this.places = places;
    this.links = links;
    /** @type {import('./poses.js').Camera[]} */
    this.cameras = [];
    this.looking = -1;
    this.component = 0;
    /** @type {Promise<ImageBitmap | null>[] | null} */
    this.pictures = null;
    this.sample = new CloudSample();
    this.chip = h('span', { class: 'chip number', id: 'cloud-state' });
    this.stopped = new AbortController();
  }

  /** Read the cameras and begin to draw; the points come in by and by. */
  async open() {
    try {
      const response = await fetch(here(this.links.artifacts['poses.json']), { signal: this.stopped.signal });
      this.cameras = readCameras(await response.json());
    } catch (error) {
      return this.showFlat(`The cameras cannot be read: ${wordsOf(error)}`);
    }
    if (!hasWebGL()) return this.showFlat('This browser cannot draw in 3D (WebGL is missing or switched off). The picture and all files are here all the same.');
    this.build();
    return this.readCloud();
  }

  build() {
    const canvas = h('canvas', { tabindex: 0, role: 'application', 'aria-label': 'The scene in 3D: arrow keys turn it, plus and minus zoom, N and P go through the cameras' });
    this.bar = new LookBar({ next: (step) => this.step(step), leave: () => this.leave(), fade: () => this.applyLook() });
    const whole = h('button', { type: 'button', id: 'whole', onclick: () => this.home(), 'aria-keyshortcuts': 'h' }, 'Whole scene');
    fill(this.places.stage, canvas, h('div', { class: 'over top' }, this.chip, whole), this.bar.element);
    this.viewer = new Viewer(canvas);
    this.cloud = new Cloud();
    this.viewer.world.add(this.cloud.group);
    this.viewer.cloud = this.cloud;
    this.viewer.addEventListener('pick', (event) => this.lookThrough(/** @type {CustomEvent<number>} */ (event).detail));
    this.viewer.addEventListener('leave', () => this.leave());
    this.controls = new SceneControls(this.places.controls, (change) => this.apply(change));
  }

  /** @returns {Promise<void>} when all points are here, or none will come */
  readCloud() {
    const worker = new Worker(new URL('./ply_worker.js', import.meta.url), { type: 'module' });
    this.stopped.signal.addEventListener('abort', () => worker.terminate());
    const small = matchMedia('(pointer: coarse)').matches || /** @type {any} */ (navigator).deviceMemory <= 4;
    const url = here(this.links.artifacts['scene.ply']);
    return new Promise((resolve) => {
      worker.onmessage = ({ data }) => {
        if (data.kind === 'points') this.addPoints(data.chunk, data.fraction);
        else if (data.kind === 'done') this.finish(data.total);
        else this.showFlat(`The cloud cannot be shown: ${data.message}`);
        if (data.kind === 'points') return;
        worker.terminate();
        resolve();
      };
      worker.onerror = () => (this.showFlat('The cloud cannot be shown.'), resolve());
      worker.postMessage({ url, limit: small ? FEWER : MANY });
    });
  }

  /**
   * @param {import('./ply.js').PlyChunk} chunk
   * @param {number} fraction
   */
  addPoints(chunk, fraction) {
    const first = this.cloud?.count === 0;
    this.sample.add(chunk);
    this.cloud?.add(chunk);
    this.chip.textContent = `${Math.floor(100 * fraction)} % of the points`;
    if (first) this.place();
    this.viewer?.pace.drawAtLeisure();
  }

  /** @param {number} total */
  finish(total) {
    const shown = this.cloud?.count ?? 0;
    if (!shown) return this.showFlat('The cloud has no points.');
    this.chip.textContent = shown < total ? `showing ${formatCount(shown)} of ${formatCount(total)} points` : `${formatCount(total)} points`;
    const canvas = /** @type {HTMLElement} */ (this.viewer?.canvas);
    this.controls?.show(this.sample, shown, canvas.clientWidth * canvas.clientHeight);
    if (this.looking < 0 && !this.viewer?.touched) this.place();
    canvas.dataset.ready = 'yes';
    announce(`The scene is drawn: ${this.chip.textContent}.`);
  }

  /** Put the shown part upright, draw its cameras, and look at it. */
  place() {
    const cameras = this.cameras.filter((camera) => camera.component === this.component);
    const bulk = this.sample.bulk(this.component);
    this.viewer?.place(cameras, bulk);
    this.setFrusta(cameraSize(cameras, bulk.radius));
    const { uniforms } = /** @type {Cloud} */ (this.cloud);
    uniforms.far.value = this.viewer?.homeDistance ?? 1;
    uniforms.shown.value = this.component;
    this.home();
  }

  /** @param {number} size */
  setFrusta(size) {
    if (!this.viewer) return;
    this.frusta?.dispose();
    if (this.frusta) this.viewer.world.remove(this.frusta.group);
    this.frusta = new Frusta(this.cameras, size, colours());
    this.frusta.showComponent(this.component);
    this.frusta.group.visible = this.controls?.values.cameras ?? true;
    this.viewer.world.add(this.frusta.group);
    this.viewer.targets = this.frusta;
    const names = this.cameras.map((camera) => camera.name);
    this.pictures ??= fetchPictures(names, this.links.thumbnails, this.stopped.signal);
    this.pictures.forEach((picture, i) => picture.then((bitmap) => bitmap && this.frusta?.setPhoto(i, bitmap)).then(() => this.viewer?.draw()));
  }

  /** @param {import('./scene_controls.js').Values} values */
  apply(values) {
    if (!this.cloud || !this.frusta || !this.viewer) return;
    const { uniforms } = this.cloud;
    uniforms.size.value = values.size * this.viewer.renderer.getPixelRatio();
    uniforms.threshold.value = values.threshold;
    uniforms.range.value = values.range;
    uniforms.byConfidence.value = values.colour === 'confidence' ? 1 : 0;
    this.frusta.group.visible = values.cameras;
    if (values.component !== this.component) {
      this.component = values.component;
      this.place();
    }
    this.viewer.draw();
  }

  /** @param {number} index */
  toggle(index) {
    if (index === this.looking) this.leave();
    else this.lookThrough(index);
  }

  /** @param {number} index */
  lookThrough(index) {
    const camera = this.cameras[index];
    if (!this.viewer || !this.frusta || !camera) return;
    if (camera.component !== this.component) this.controls?.set({ component: camera.component });
    this.setLooking(index);
    this.viewer.lookThrough(camera);
    announce(`Looking through the camera of ${camera.name}, ${index + 1} of ${this.cameras.length}.`);
  }

  /** @param {number} step */
  step(step) {
    const count = this.cameras.length;
    if (count) this.lookThrough(this.looking < 0 ? (step > 0 ? 0 : count - 1) : (this.looking + step + count) % count);
  }

  leave() {
    if (this.looking < 0) return;
    this.setLooking(-1);
    this.viewer?.leave();
  }

  home() {
    this.setLooking(-1);
    this.viewer?.goHome();
  }

  /** @param {number} index */
  setLooking(index) {
    this.looking = index;
    this.bar?.show(this.cameras[index]?.name ?? null);
    this.applyLook();
    this.dispatchEvent(new Event('look'));
  }

  applyLook() {
    this.frusta?.choose(this.looking);
    this.frusta?.lookThrough(this.looking < 0 ? null : this.looking, this.bar?.opacity ?? 0);
    this.viewer?.draw();
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    const { controls } = this;
    /** @type {Record<string, () => void>} */
    const keys = {
      n: () => this.step(1),
      p: () => this.step(-1),
      h: () => this.home(),
      Escape: () => this.leave(),
      c: () => controls?.set({ colour: controls.values.colour === 'photo' ? 'confidence' : 'photo' }),
      f: () => controls?.set({ cameras: !controls.values.cameras }),
      '[': () => controls?.set({ size: controls.values.size / 1.25 }),
      ']': () => controls?.set({ size: controls.values.size * 1.25 }),
    };
    if (!this.viewer || !Object.hasOwn(keys, event.key)) return;
    event.preventDefault();
    keys[event.key]();
  }

  /**
   * Without a scene: say why, and show the picture that the service made.
   * @param {string} why
   */
  async showFlat(why) {
    this.viewer?.dispose();
    this.viewer = undefined;
    this.places.controls.hidden = true;
    const picture = h('img', { alt: 'The cloud and the cameras, from two sides', hidden: true });
    fill(this.places.stage, h('div', { class: 'flat' }, h('p', { class: 'notice', role: 'alert' }, why), picture));
    const preview = await fetchPicture(this.links.artifacts['preview.png'], this.stopped.signal);
    if (preview) picture.src = URL.createObjectURL(preview);
    picture.hidden = !preview;
  }

  close() {
    this.stopped.abort();
    this.frusta?.dispose();
    this.cloud?.dispose();
    this.viewer?.dispose();
  }
}

function colours() {
  const style = getComputedStyle(document.documentElement);
  return { line: style.getPropertyValue('--soft').trim(), chosen: style.getPropertyValue('--accent').trim() };
}
