// A result: the panel with what came of the job, beside the scene.

import { fill, h } from './dom.js';
import { Downloads } from './downloads.js';
import { sentence } from './ended_view.js';
import { formatCount, formatDate, formatSeconds, jobTitle, plural } from './format.js';
import { SceneView } from './scene_view.js';
import { call, here, jobPath } from './service.js';

const EARLY_MS = 60_000; // links are made anew so long before they end
/** @type {Record<string, string>} */
const VERDICTS = { good: 'Good quality', fair: 'Fair quality, see below', poor: 'Poor quality, see below' };

/** The view of a job that has succeeded. */
export class ResultView {
  /**
   * @param {any} job
   * @param {() => void} onDelete
   */
  constructor(job, onDelete) {
    this.job = job;
    this.stage = h('div', { class: 'stage' });
    this.controls = h('section', { 'aria-label': 'View', hidden: true });
    this.thumbs = h('div', { class: 'thumbs' });
    this.downloads = new Downloads(job);
    this.photosHead = h('small', {});
    this.panel = h(
      'div',
      { class: 'panel' },
      h('section', {}, h('h1', {}, jobTitle(job)), facts(job), verdict(job)),
      h('section', { 'aria-label': 'Photos' }, h('h2', {}, 'Look through a camera', this.photosHead), this.thumbs),
      this.controls,
      leftOut(job),
      warnings(job),
      this.downloads.element,
      h(
        'section',
        {},
        h('p', { class: 'facts' }, `Kept until ${formatDate(job.retention_until)}.`),
        h('div', { class: 'actions' }, h('a', { class: 'button', href: '#/' }, 'New job'), h('button', { type: 'button', class: 'quiet danger', onclick: onDelete }, 'Delete')),
      ),
    );
    this.element = h('div', { class: 'result' }, this.stage, this.panel);
    /** @type {SceneView | null} */
    this.scene = null;
    this.timer = 0;
  }

  /** Fetch what there is to see. */
  async open() {
    const links = await this.renewLinks();
    const scene = new SceneView({ stage: this.stage, controls: this.controls }, links);
    this.scene = scene;
    scene.addEventListener('look', () => this.mark(scene.looking));
    await scene.open();
    this.showPhotos(scene.cameras, links.thumbnails);
  }

  close() {
    clearTimeout(this.timer);
    this.scene?.close();
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    this.scene?.press(event);
  }

  /** Links end after some minutes; a page may stay open for longer. */
  async renewLinks() {
    const links = await call('GET', `${jobPath(this.job.id)}/links`);
    this.downloads.show(links);
    const left = Date.parse(links.expires_at) - Date.now();
    this.timer = Number(setTimeout(() => this.renewLinks().catch(() => {}), Math.max(EARLY_MS, left - EARLY_MS)));
    return links;
  }

  /**
   * @param {import('./poses.js').Camera[]} cameras
   * @param {Record<string, string>} thumbnails
   */
  showPhotos(cameras, thumbnails) {
    this.photosHead.textContent = plural(cameras.length, 'camera');
    const buttons = cameras.map((camera, i) => {
      const picture = thumbnails[camera.name] ? h('img', { src: here(thumbnails[camera.name]), alt: '', loading: 'lazy' }) : camera.name;
      const label = `Camera of ${camera.name}`;
      return h('button', { type: 'button', 'aria-pressed': 'false', 'aria-label': label, title: camera.name, onclick: () => this.scene?.toggle(i) }, picture);
    });
    fill(this.thumbs, ...buttons);
  }

  /** @param {number} index of the camera that is looked through; -1: none */
  mark(index) {
    [...this.thumbs.children].forEach((button, i) => button.setAttribute('aria-pressed', String(i === index)));
    if (index >= 0) this.thumbs.children[index]?.scrollIntoView({ block: 'nearest', inline: 'nearest' });
  }
}

/** @param {any} job */
function facts(job) {
  const { images_used: used, images_total: total, points, compute_s: seconds } = job.metrics ?? {};
  const words = [];
  if (total) words.push(used === total ? plural(total, 'photo') : `${used} of ${plural(total, 'photo')}`);
  if (points) words.push(`${formatCount(points)} points`);
  if (job.scale) words.push(job.scale.metric ? 'in metres' : 'scale unknown');
  if (seconds) words.push(formatSeconds(seconds));
  return h('p', { class: 'facts' }, words.join(' · '));
}

/** @param {any} job */
function verdict(job) {
  const quality = job.quality;
  return quality && h('span', { class: `quality ${quality.verdict}` }, VERDICTS[quality.verdict] ?? quality.verdict);
}

/** @param {any} job */
function leftOut(job) {
  const photos = (job.quality?.photos ?? []).filter((/** @type {any} */ photo) => !photo.registered);
  if (!photos.length) return null;
  const items = photos.map((/** @type {any} */ photo) => h('li', {}, h('b', {}, photo.name), sentence(photo.reason ?? 'no reason given')));
  return h('section', { id: 'left-out' }, h('h2', {}, 'Not placed', h('small', {}, plural(photos.length, 'photo'))), h('ul', { class: 'reasons' }, ...items));
}

/** @param {any} job */
function warnings(job) {
  const lines = [...(job.quality?.reasons ?? []), ...job.warnings];
  if (!lines.length) return null;
  return h('section', { id: 'warnings' }, h('h2', {}, 'Good to know'), h('ul', { class: 'reasons' }, ...lines.map((line) => h('li', {}, sentence(line)))));
}
