// A job that ended without a result, or is not there (any more).

import { h } from './dom.js';
import { STATUS_WORDS, jobTitle, plural } from './format.js';

/** @type {Record<string, string>} */
const HEADS = {
  no_overlap: 'The photos do not hang together',
  invalid_image: 'A photo cannot be used',
  too_few_images: 'No photo is left to work with',
  out_of_memory: 'The photos need more memory than there is',
  timeout: 'It took too long',
  worker_lost: 'The machine that worked on it went away',
  storage_unavailable: 'The storage did not answer',
  engine_error: 'Something broke on our side',
};

/**
 * @param {any} job
 * @param {{ remove: () => void, again: () => void }} actions
 */
export function endedView(job, actions) {
  const head = job.error ? (HEADS[job.error.code] ?? 'It failed') : job.status === 'expired' ? 'Its time was over before it began' : 'It was stopped';
  return h(
    'div',
    { class: 'sheet' },
    h('header', {}, h('a', { class: 'crumb', href: '#/' }, 'All jobs'), h('h1', {}, jobTitle(job)), h('p', {}, h('span', { class: `status ${job.status}` }, STATUS_WORDS[job.status]))),
    h(
      'div',
      { class: 'verdict' },
      h('h2', {}, head),
      job.error && h('p', {}, sentence(job.error.message)),
      job.error && h('p', { class: 'muted mono' }, `${job.error.code}, after ${plural(job.attempts.length, 'attempt')}`),
    ),
    job.error?.hint && h('p', { class: 'hint-box' }, sentence(job.error.hint)),
    warnings(job.warnings),
    h(
      'div',
      { class: 'actions' },
      h('button', { type: 'button', class: 'primary', onclick: actions.again }, 'Do it again'),
      h('button', { type: 'button', class: 'quiet danger', onclick: actions.remove }, 'Delete'),
    ),
  );
}

/** @param {string} text */
export function goneView(text) {
  return h('div', { class: 'sheet' }, h('header', {}, h('h1', {}, 'This job cannot be shown')), h('p', { role: 'alert' }, text), h('p', {}, h('a', { href: '#/' }, 'All jobs')));
}

/** @param {string[]} lines */
function warnings(lines) {
  return lines.length > 0 && h('ul', { class: 'notice', 'aria-label': 'Warnings' }, ...lines.map((line) => h('li', {}, sentence(line))));
}

/** @param {string} text */
export function sentence(text) {
  const whole = /[.!?]$/.test(text) ? text : `${text}.`;
  return whole.charAt(0).toUpperCase() + whole.slice(1);
}
