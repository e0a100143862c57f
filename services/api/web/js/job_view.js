// One job, whatever its state: how far it is, why it failed, or what came of it.

import { announce, confirm, fill, h } from './dom.js';
import { follow } from './follow.js';
import { jobTitle } from './format.js';
import { endedView, goneView } from './ended_view.js';
import { ProgressView } from './progress_view.js';
import { ResultView } from './result_view.js';
import { ProblemError, call, jobPath, wordsOf } from './service.js';

/** Follows a job and shows it. */
export class JobView {
  /**
   * @param {HTMLElement} section
   * @param {string} jobId
   */
  constructor(section, jobId) {
    this.section = section;
    this.jobId = jobId;
    this.stopped = new AbortController();
    /** @type {ProgressView | null} */
    this.progress = null;
    /** @type {ResultView | null} */
    this.result = null;
    fill(section);
    this.run();
  }

  close() {
    this.stopped.abort();
    this.result?.close();
    fill(this.section);
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    this.result?.press(event);
  }

  async run() {
    try {
      const watcher = {
        onJob: (/** @type {any} */ job) => job.terminal || this.showProgress(job),
        onProgress: (/** @type {any} */ progress) => this.progress?.showReport(progress),
        onTrouble: (/** @type {unknown} */ error) => this.progress?.showTrouble(wordsOf(error)),
      };
      this.showEnd(await follow(this.jobId, watcher, this.stopped.signal));
    } catch (error) {
      if (!this.stopped.signal.aborted) fill(this.section, goneView(wordsOf(error)));
    }
  }

  /** @param {any} job */
  showProgress(job) {
    document.title = jobTitle(job);
    if (!this.progress) {
      this.progress = new ProgressView(() => this.cancel());
      fill(this.section, this.progress.element);
    }
    this.progress.show(job);
  }

  /** @param {any} job */
  showEnd(job) {
    document.title = jobTitle(job);
    this.progress = null;
    const actions = { remove: () => this.remove(), again: () => this.again() };
    if (job.status === 'succeeded') {
      this.result = new ResultView(job, actions.remove);
      fill(this.section, this.result.element);
      this.result.open();
      announce('The result is here.');
    } else {
      fill(this.section, endedView(job, actions));
      announce(`The job has ended: ${job.error?.message ?? job.status}`);
    }
  }

  async cancel() {
    const sure = await confirm({ title: 'Stop this job?', text: 'What was computed so far is lost. It can be done again.', action: 'Stop' });
    if (sure) await this.attempt(() => call('POST', `${jobPath(this.jobId)}/cancel`));
  }

  async remove() {
    const sure = await confirm({ title: 'Delete this job?', text: 'Its photos and its result are removed from the service.', action: 'Delete' });
    if (sure && (await this.attempt(() => call('DELETE', jobPath(this.jobId))))) location.hash = '#/';
  }

  async again() {
    const job = await this.attempt(() => call('POST', `${jobPath(this.jobId)}/retry`));
    if (job) location.hash = `#/jobs/${job.id}`;
  }

  /**
   * Do something; say so where it cannot be done.
   * @param {() => Promise<any>} work
   * @returns {Promise<any>} true when there was no answer to give, false when it failed
   */
  async attempt(work) {
    try {
      return (await work()) ?? true;
    } catch (error) {
      if (error instanceof ProblemError && error.status === 410) return true;
      this.section.querySelector('.action-problem')?.remove();
      this.section.firstElementChild?.append(h('p', { class: 'problem action-problem', role: 'alert' }, wordsOf(error)));
      return false;
    }
  }
}
