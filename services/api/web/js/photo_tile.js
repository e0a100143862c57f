// One photo of the draft, with its upload.

import { h } from './dom.js';
import { call, here } from './service.js';

const SIDE = 240; // pixels of a tile's picture

/** @type {Promise<void>} pictures are decoded one after another: a phone has no room for many at once */
let queue = Promise.resolve();

/** A tile. */
export class PhotoTile {
  /** @param {string} name */
  constructor(name) {
    this.name = name;
    this.onRemove = () => {};
    this.state = h('span', { class: 'state' });
    this.meter = h('div', { class: 'meter' }, h('span'));
    this.caption = h('span', { class: 'name' }, name);
    this.element = h('li', { class: 'photo', title: name }, this.caption, this.state, this.meter);
  }

  /**
   * Show a file of this machine. Formats that the browser cannot show stay grey.
   * @param {File} file
   */
  showFile(file) {
    queue = queue.then(async () => {
      try {
        const bitmap = await createImageBitmap(file, { resizeHeight: SIDE, resizeQuality: 'low' });
        const canvas = h('canvas', { width: bitmap.width, height: bitmap.height, 'aria-hidden': 'true' });
        canvas.getContext('2d').drawImage(bitmap, 0, 0);
        bitmap.close();
        this.hang(canvas);
      } catch {
        // Its name is shown.
      }
    });
  }

  /**
   * Show a photo that the service has already.
   * @param {string} captureId
   */
  async showStored(captureId) {
    this.element.classList.add('stored');
    try {
      const links = await linksOf(captureId);
      if (links[this.name]) this.hang(h('img', { src: here(links[this.name]), alt: '', loading: 'lazy' }));
    } catch {
      // Its name is shown.
    }
  }

  /** @param {import('./upload.js').Photo} photo */
  showPhoto(photo) {
    this.element.className = `photo ${photo.state}`;
    this.meter.firstElementChild.style.setProperty('--done', String(photo.fraction));
    this.state.textContent = { waiting: '', sending: '', broken: 'trying again', stored: '', refused: 'not taken' }[photo.state];
    this.element.title = photo.reason ? `${this.name}: ${photo.reason}` : this.name;
    this.caption.textContent = photo.state === 'refused' ? photo.reason : this.name;
    if (photo.state === 'refused' && !this.element.querySelector('.remove')) {
      this.element.append(h('button', { type: 'button', class: 'remove', 'aria-label': `Remove ${this.name}`, onclick: () => this.onRemove() }, '×'));
    }
  }

  /** @param {Element} picture */
  hang(picture) {
    this.element.querySelector('canvas, img')?.remove();
    this.element.prepend(picture);
  }
}

/** @type {Map<string, Promise<Record<string, string>>>} */
const links = new Map();

/** @param {string} captureId */
function linksOf(captureId) {
  const known = links.get(captureId) ?? call('GET', `v1/captures/${captureId}/links`).then((answer) => answer.thumbnails);
  links.set(captureId, known);
  return known;
}
