// The files of a result.

import { fill, h } from './dom.js';
import { FILE_WORDS, formatBytes } from './format.js';
import { call, here, jobPath } from './service.js';

/** The list of files, each with a link of its own. */
export class Downloads {
  /** @param {any} job */
  constructor(job) {
    this.job = job;
    this.list = h('ul', { class: 'files' });
    this.all = h('a', { class: 'button', id: 'download-all' }, 'Download all as zip');
    this.element = h('section', { 'aria-label': 'Files' }, h('h2', {}, 'Files'), this.list, this.all);
    /** @type {any[] | null} */
    this.files = null;
  }

  /**
   * Show the files with these links.
   * @param {{ archive: string, artifacts: Record<string, string> }} links
   */
  async show(links) {
    this.all.href = here(links.archive);
    if (!this.files) {
      this.files = await call('GET', `${jobPath(this.job.id)}/artifacts`);
      fill(this.list, ...(this.files ?? []).map(item));
    }
    for (const link of this.list.querySelectorAll('a')) link.href = here(links.artifacts[link.dataset.file]); // focus stays where it is
  }
}

/** @param {any} file */
function item(file) {
  const words = FILE_WORDS[file.name] ?? file.name;
  const spoken = h('span', { class: 'away' }, `Download ${file.name}, `);
  const link = h('a', { class: 'button', download: file.name, 'data-file': file.name }, spoken, `↓ ${formatBytes(file.bytes)}`);
  const sum = h('small', { title: `SHA-256 ${file.sha256}` }, `${file.name} · `, h('span', { class: 'mono' }, file.sha256.slice(0, 8)));
  return h('li', {}, h('span', {}, h('b', {}, words), sum), link);
}
