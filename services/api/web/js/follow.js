// Following a job: its event stream, and questions from time to time where a proxy holds streams back.

import { ProblemError, call, jobPath, send } from './service.js';
import { readEvents } from './sse.js';

const SILENT_MS = 8000; // a stream that has not begun by then never will
const DEAD_MS = 40000; // a comment comes every 15 s
const POLL_S = 3;
const PAUSE_MS = 2000;
const GIVE_UP = new Set([401, 403, 404, 410]);

/**
 * @typedef {object} Watcher
 * @property {(job: any) => void} onJob the whole job
 * @property {(progress: any) => void} onProgress
 * @property {(error: unknown) => void} onTrouble it goes on by itself
 */

/**
 * Follow a job until it has ended.
 * @param {string} jobId
 * @param {Watcher} watcher
 * @param {AbortSignal} signal
 * @returns {Promise<any>} the job at its end
 */
export async function follow(jobId, watcher, signal) {
  const stream = { lastId: '', works: true };
  for (let round = 0; ; round += 1) {
    try {
      const job = await call('GET', `${jobPath(jobId)}${stream.works ? '' : `?wait=${POLL_S}`}`, { signal });
      watcher.onJob(job);
      if (job.terminal) return job;
      if (stream.works) await listen(jobId, stream, watcher, signal);
    } catch (error) {
      if (signal.aborted || GIVE_UP.has(/** @type {any} */ (error).status)) throw error;
      watcher.onTrouble(error);
      await pause(signal);
    }
  }
}

/**
 * Listen until the job takes a step, or the stream ends or breaks.
 * @param {string} jobId
 * @param {{ lastId: string, works: boolean }} stream
 * @param {Watcher} watcher
 * @param {AbortSignal} signal
 */
async function listen(jobId, stream, watcher, signal) {
  const patience = new Patience(SILENT_MS);
  /** @type {Record<string, string>} */
  const headers = stream.lastId ? { 'Last-Event-ID': stream.lastId } : {};
  let begun = false;
  try {
    const either = AbortSignal.any([signal, patience.signal]);
    const response = await send('GET', `${jobPath(jobId)}/events`, { headers, signal: either });
    if (response.status === 204) return; // the job has ended
    if (response.status !== 200) throw new ProblemError(response.status, null);
    for await (const event of readEvents(response, () => patience.renew(DEAD_MS))) {
      begun = true;
      stream.lastId = event.id || stream.lastId;
      if (event.event === 'job') watcher.onJob(JSON.parse(event.data));
      else if (event.event === 'progress') watcher.onProgress(JSON.parse(event.data));
      else if (event.event === 'status') return; // the whole job is asked for
    }
  } catch (error) {
    if (!patience.signal.aborted) throw error;
    stream.works = begun;
  } finally {
    patience.end();
  }
}

/** Ends something that says nothing for too long. */
class Patience {
  /** @param {number} milliseconds */
  constructor(milliseconds) {
    this.controller = new AbortController();
    this.timer = 0;
    this.renew(milliseconds);
  }

  get signal() {
    return this.controller.signal;
  }

  /** @param {number} milliseconds */
  renew(milliseconds) {
    this.end();
    this.timer = Number(setTimeout(() => this.controller.abort(), milliseconds));
  }

  end() {
    clearTimeout(this.timer);
  }
}

/**
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
function pause(signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, PAUSE_MS);
    signal.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true });
  });
}
