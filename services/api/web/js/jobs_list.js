// The jobs there are, newest first.

import { byId, fill, h } from './dom.js';
import { STATUS_WORDS, formatCount, formatDate, jobTitle, plural } from './format.js';
import { call, here, jobPath } from './service.js';

const PAGE = 12;
const AGAIN_MS = 4000;

/** The list below the start. */
export class JobList {
  constructor() {
    this.element = byId('job-list');
    this.more = byId('jobs-more');
    /** @type {string | null} */
    this.cursor = null;
    this.timer = 0;
    this.more.addEventListener('click', () => this.loadMore());
    this.seen = new IntersectionObserver((entries) => {
      for (const entry of entries) if (entry.isIntersecting) this.showPicture(/** @type {HTMLElement} */ (entry.target));
    });
  }

  /** Read the first page; while jobs are under way, again from time to time. */
  async load() {
    clearTimeout(this.timer);
    const page = await call('GET', `v1/jobs?limit=${PAGE}`);
    const rows = page.items.map((/** @type {any} */ job) => this.row(job));
    const focused = /** @type {HTMLElement | null} */ (document.activeElement)?.dataset?.job;
    fill(this.element, ...rows);
    if (focused) this.element.querySelector(`[data-job="${focused}"]`)?.focus();
    this.turn(page.next_cursor);
    byId('jobs').hidden = !rows.length;
    const busy = page.items.some((/** @type {any} */ job) => !job.terminal);
    if (busy) this.timer = Number(setTimeout(() => this.load().catch(() => {}), AGAIN_MS));
  }

  async loadMore() {
    clearTimeout(this.timer); // reading the first page again would fold the list
    const page = await call('GET', `v1/jobs?limit=${PAGE}&cursor=${encodeURIComponent(this.cursor ?? '')}`);
    this.element.append(...page.items.map((/** @type {any} */ job) => this.row(job)));
    this.turn(page.next_cursor);
  }

  /** Ask no more. */
  rest() {
    clearTimeout(this.timer);
  }

  /** @param {string | null} cursor */
  turn(cursor) {
    this.cursor = cursor;
    this.more.hidden = cursor === null;
  }

  /** @param {any} job */
  row(job) {
    const picture = h('span', { class: 'blank', 'aria-hidden': 'true' });
    const row = h(
      'a',
      { class: 'job-row', href: `#/jobs/${job.id}`, 'data-job': job.id },
      picture,
      h('span', {}, h('b', {}, jobTitle(job)), h('small', {}, facts(job))),
      h('span', { class: `status ${job.status}` }, STATUS_WORDS[job.status]),
    );
    if (job.status === 'succeeded') this.seen.observe(row);
    return h('li', {}, row);
  }

  /** @param {HTMLElement} row */
  async showPicture(row) {
    this.seen.unobserve(row);
    try {
      const links = await call('GET', `${jobPath(row.dataset.job ?? '')}/links`);
      const [first] = Object.values(links.thumbnails);
      if (first) row.querySelector('.blank')?.replaceWith(h('img', { src: here(String(first)), alt: '' }));
    } catch {
      // The row says all that matters.
    }
  }
}

/** @param {any} job */
function facts(job) {
  const words = job.labels.name ? [formatDate(job.created_at)] : [];
  const { images_total: photos, points } = job.metrics ?? {};
  if (photos) words.push(plural(photos, 'photo'));
  if (points) words.push(`${formatCount(points)} points`);
  if (job.error) words.push(job.error.message.slice(0, 90));
  if (!job.terminal && job.progress) words.push(`${Math.floor(100 * job.progress.fraction)} %`);
  return words.join(' · ');
}
