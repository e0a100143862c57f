// The photos of the next job: they are sent as soon as they are chosen; the job is made when all have arrived.

import { draftCapture, forgetDraft, forgetFile, keepCapture, keepFiles, keptFiles } from './draft.js';
import { announce, byId, confirm, fill, h } from './dom.js';
import { FILE_WORDS, plural } from './format.js';
import { PhotoTile } from './photo_tile.js';
import { ProblemError, call, wordsOf } from './service.js';
import { Uploads, missingFrom, nameFiles } from './upload.js';

/** @typedef {import('./upload.js').Photo} Photo */

const ALWAYS = ['scene.ply', 'poses.json', 'preview.png'];
const GONE = new Set([404, 410]);
/** @type {Record<string, string>} */
const PRESETS = { fast: 'Fast', balanced: 'Balanced', accurate: 'Accurate' };

/** A capture that is being filled. */
export class Draft {
  /** @param {(filling: boolean) => void} onTurn the draft begins or is over */
  constructor(onTurn) {
    this.onTurn = onTurn;
    /** @type {Uploads | null} */
    this.uploads = null;
    /** @type {Promise<void> | null} a capture is being made */
    this.opening = null;
    /** @type {Map<string, PhotoTile>} by the photo's name */
    this.tiles = new Map();
    /** @type {Set<string>} names the capture has */
    this.stored = new Set();
    this.wanted = false; // the job is to be made as soon as all are there
    byId('draft').addEventListener('submit', (/** @type {Event} */ event) => {
      event.preventDefault();
      this.wanted = true;
      this.update();
    });
    byId('draft-discard').addEventListener('click', () => this.discard());
  }

  /** @param {any} info `GET /v1/info` */
  setInfo(info) {
    if (byId('presets').childElementCount) return;
    this.limit = info.limits.max_photos;
    const choices = info.presets.map((/** @type {string} */ preset) =>
      h('label', {}, h('input', { type: 'radio', name: 'preset', value: preset, checked: preset === info.default_preset }), h('span', {}, PRESETS[preset] ?? preset)),
    );
    fill(byId('presets'), ...choices);
    const formats = info.outputs
      .filter((/** @type {string} */ name) => !ALWAYS.includes(name))
      .map((/** @type {string} */ name) => h('label', {}, h('input', { type: 'checkbox', name: 'output', value: name }), h('span', {}, FILE_WORDS[name] ?? name)));
    fill(byId('formats'), ...formats);
  }

  /** Go on with what an earlier visit began to send. */
  async resume() {
    const captureId = this.uploads ? null : draftCapture();
    if (!captureId) return;
    try {
      const capture = await call('GET', `v1/captures/${encodeURIComponent(captureId)}`);
      if (capture.frozen) return void (await forgetDraft());
      this.begin(capture);
      const files = await keptFiles(captureId);
      const missing = await missingFrom(files, capture.images);
      this.show(missing);
      this.uploads?.add(missing);
      this.update();
    } catch (error) {
      if (error instanceof ProblemError && GONE.has(error.status)) await forgetDraft();
      else throw error;
    }
  }

  /** @param {File[]} files */
  async add(files) {
    this.opening ??= this.uploads ? Promise.resolve() : this.create(); // one capture, however fast photos are chosen
    await this.opening.finally(() => (this.opening = null));
    const uploads = this.uploads;
    if (!uploads) return;
    const named = nameFiles(files, [...this.tiles.keys()]);
    this.show(named);
    await keepFiles(uploads.captureId, named);
    uploads.add(named);
    this.update();
  }

  async create() {
    const capture = await call('POST', 'v1/captures');
    keepCapture(capture.id);
    this.begin(capture);
  }

  /** @param {any} capture */
  begin(capture) {
    this.uploads = new Uploads(capture.id);
    this.uploads.addEventListener('change', (event) => this.note(/** @type {CustomEvent<Photo>} */ (event).detail));
    for (const image of capture.images) {
      this.stored.add(image.name);
      const tile = new PhotoTile(image.name);
      tile.showStored(capture.id);
      this.hang(tile);
    }
    this.onTurn(true);
    this.update();
  }

  /** @param {{ name: string, file: File }[]} named */
  show(named) {
    for (const { name, file } of named) {
      this.stored.delete(name);
      const tile = this.tiles.get(name) ?? new PhotoTile(name);
      tile.showFile(file);
      this.hang(tile);
    }
  }

  /** @param {PhotoTile} tile */
  hang(tile) {
    this.tiles.set(tile.name, tile);
    tile.onRemove = () => this.remove(tile.name);
    byId('photos').append(tile.element);
  }

  /** @param {Photo} photo */
  note(photo) {
    this.tiles.get(photo.name)?.showPhoto(photo);
    if (photo.state === 'stored' && this.uploads && !this.stored.has(photo.name)) {
      this.stored.add(photo.name);
      forgetFile(this.uploads.captureId, photo.name);
    }
    this.update();
  }

  /**
   * Take a refused photo out: it was never part of the capture.
   * @param {string} name
   */
  remove(name) {
    const photo = this.uploads?.photos.find((each) => each.name === name);
    if (!photo || !this.uploads) return;
    this.uploads.drop(photo);
    forgetFile(this.uploads.captureId, name);
    this.tiles.get(name)?.element.remove();
    this.tiles.delete(name);
    this.update();
  }

  /** Show how far it is, and make the job once it is wanted and all are there. */
  update() {
    const photos = this.uploads?.photos ?? [];
    const open = photos.filter((photo) => photo.state !== 'stored' && photo.state !== 'refused');
    const refused = photos.filter((photo) => photo.state === 'refused');
    const broken = open.filter((photo) => photo.state === 'broken');
    const count = this.stored.size + open.length;
    const sent = this.stored.size + open.reduce((sum, photo) => sum + photo.fraction, 0);
    const percent = count ? Math.floor((100 * sent) / count) : 0;
    const meter = byId('draft-meter');
    meter.setAttribute('aria-valuenow', String(percent));
    meter.firstElementChild.style.setProperty('--done', String(percent / 100));
    let state = open.length ? `${this.stored.size} of ${count} sent` : `${plural(this.stored.size, 'photo')} sent`;
    if (broken.length) state = `${state}. ${wordsOf(broken[0].reason)}; it is tried again.`;
    if (refused.length) state = `${state}. ${plural(refused.length, 'photo')} not taken.`;
    byId('draft-state').textContent = state;
    if (!open.length || broken.length) announce(state);
    const submit = byId('submit');
    submit.textContent = this.wanted && open.length ? 'Starts when all are sent' : `Reconstruct ${plural(count, 'photo')}`;
    submit.disabled = !count || this.wanted;
    if (this.wanted && !open.length && count) this.submit();
  }

  async submit() {
    const captureId = this.uploads?.captureId;
    if (!captureId || this.submitting) return;
    this.submitting = true;
    try {
      const form = new FormData(byId('draft'));
      const name = byId('job-name').value.trim();
      const wish = { capture_id: captureId, preset: form.get('preset') ?? 'balanced', outputs: form.getAll('output'), labels: name ? { name } : {} };
      const digest = [captureId, wish.preset, ...wish.outputs, name].join(' ');
      const headers = { 'Idempotency-Key': await keyOf(digest) };
      const job = await call('POST', 'v1/reconstructions', { json: wish, headers });
      await this.end();
      location.hash = `#/jobs/${job.id}`;
    } catch (error) {
      this.wanted = false;
      byId('draft-problem').textContent = wordsOf(error);
      byId('draft-problem').hidden = false;
      this.submitting = false;
      this.update();
    }
  }

  async discard() {
    const sure = await confirm({ title: 'Discard these photos?', text: 'They are removed from the service. Your own files stay.', action: 'Discard' });
    const captureId = this.uploads?.captureId;
    if (!sure || !captureId) return;
    this.uploads?.stop();
    await call('DELETE', `v1/captures/${captureId}`).catch(() => {}); // it expires by itself
    await this.end();
    byId('choose').focus();
  }

  async end() {
    this.uploads?.stop();
    this.uploads = null;
    this.wanted = this.submitting = false;
    this.tiles.clear();
    this.stored.clear();
    fill(byId('photos'));
    byId('job-name').value = '';
    byId('draft-problem').hidden = true;
    this.onTurn(false);
    await forgetDraft();
  }
}

/**
 * One key for one wish: sent twice over a bad network, it is still one job.
 * @param {string} text
 */
async function keyOf(text) {
  const { sha256, toHex } = await import('./sha256.js');
  return toHex(await sha256(/** @type {ArrayBuffer} */ (new TextEncoder().encode(text).buffer)));
}
