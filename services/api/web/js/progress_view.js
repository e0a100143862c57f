// A job that waits or runs: stages, how far, and the time left.

import { announce, fill, h } from './dom.js';
import { STAGES, formatSeconds, formatTimeLeft, jobTitle, plural } from './format.js';
import { call, here, jobPath } from './service.js';

const TOLD_EVERY = 0.25; // of the whole: how often the progress is spoken

/** The view of a job under way. */
export class ProgressView {
  /** @param {() => void} onCancel */
  constructor(onCancel) {
    this.title = h('h1', {});
    this.photos = h('div', { class: 'strip', 'aria-hidden': 'true' });
    this.meter = h('div', { class: 'meter', role: 'progressbar', 'aria-label': 'Reconstruction', 'aria-valuemin': 0, 'aria-valuemax': 100 }, h('span'));
    this.what = h('b', {}, '');
    this.left = h('span', { class: 'muted number' });
    this.trouble = h('p', { class: 'notice', hidden: true });
    this.rows = STAGES.map(([name, words]) => {
      const time = h('time');
      return { name, time, row: h('li', {}, h('span', {}, words), time) };
    });
    this.cancel = h('button', { type: 'button', id: 'cancel', onclick: onCancel }, 'Stop');
    this.element = h(
      'div',
      { class: 'sheet' },
      h('header', {}, h('a', { class: 'crumb', href: '#/' }, 'All jobs'), this.title),
      this.photos,
      h('div', { class: 'now' }, this.what, this.left),
      this.meter,
      this.trouble,
      h('ol', { class: 'stages', 'aria-label': 'Stages' }, ...this.rows.map((row) => row.row)),
      h('div', { class: 'actions' }, this.cancel, h('span', { class: 'muted hint' }, 'You can close this page; the job goes on.')),
    );
    this.told = -1;
  }

  /** @param {any} job */
  show(job) {
    if (!this.title.textContent) this.showPhotos(job.id);
    this.title.textContent = jobTitle(job);
    this.trouble.hidden = true;
    this.cancel.disabled = job.status === 'canceling';
    if (job.status === 'queued') this.showWaiting(job);
    else if (job.status === 'canceling') this.what.textContent = 'Stopping at the next step';
    else if (job.progress) this.showReport(job.progress);
    else this.what.textContent = 'Starting';
  }

  /** @param {any} job */
  showWaiting(job) {
    const before = job.queue?.position ?? 0;
    const again = job.attempts.length ? 'Waiting to be tried again' : 'Waiting for its turn';
    this.what.textContent = before ? `${again}, ${plural(before, 'job')} before it` : again;
    this.left.textContent = '';
    announce(this.what.textContent);
  }

  /** @param {any} report */
  showReport(report) {
    if (this.cancel.disabled) return;
    const percent = Math.floor(100 * report.fraction);
    const stage = STAGES.findIndex(([name]) => name === report.stage);
    this.what.textContent = STAGES[stage]?.[1] ?? report.stage;
    this.left.textContent = [`${percent} %`, report.eta_s === null ? '' : formatTimeLeft(report.eta_s)].filter(Boolean).join(' · ');
    this.meter.setAttribute('aria-valuenow', String(percent));
    this.meter.setAttribute('aria-valuetext', `${percent} percent, ${this.what.textContent}`);
    this.meter.firstElementChild.style.setProperty('--done', String(report.fraction));
    this.rows.forEach(({ name, row, time }, i) => {
      row.className = i < stage ? 'past' : i === stage ? 'now-at' : '';
      if (i === stage) row.setAttribute('aria-current', 'step');
      else row.removeAttribute('aria-current');
      const spent = report.stages.find((/** @type {any} */ each) => each.name === name)?.seconds;
      time.textContent = spent >= 0.05 && i <= stage ? formatSeconds(spent) : '';
    });
    const mark = Math.floor(report.fraction / TOLD_EVERY);
    if (mark !== this.told) announce(`${percent} percent, ${this.what.textContent}`);
    this.told = mark;
  }

  /** @param {string} text */
  showTrouble(text) {
    this.trouble.textContent = `${text}. The job goes on; this page tries again.`;
    this.trouble.hidden = false;
  }

  /** @param {string} jobId */
  async showPhotos(jobId) {
    try {
      const { thumbnails } = await call('GET', `${jobPath(jobId)}/links`);
      fill(this.photos, ...Object.values(thumbnails).map((url) => h('img', { src: here(String(url)), alt: '', loading: 'lazy' })));
    } catch {
      // Decoration.
    }
  }
}
