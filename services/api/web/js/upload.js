// Photos on their way into a capture: a few at a time, each repeated until the service has it.

import { contentDigest, sha256, toHex } from './sha256.js';
import { ProblemError, at, keyHeaders, reported } from './service.js';

/**
 * @typedef {object} Photo
 * @property {string} name its name in the capture
 * @property {File} file
 * @property {'waiting' | 'sending' | 'broken' | 'stored' | 'refused'} state
 * @property {number} fraction sent
 * @property {string} reason why it is broken off or refused
 */

const AT_ONCE = 3;
const FIRST_PAUSE_MS = 800;
const LONGEST_PAUSE_MS = 15000;

/** Sends the photos of one capture. Says `change` when a photo's state has, with the photo in `detail`. */
export class Uploads extends EventTarget {
  /**
   * @param {string} captureId
   */
  constructor(captureId) {
    super();
    this.captureId = captureId;
    /** @type {Photo[]} */
    this.photos = [];
    this.active = 0;
    this.stopped = new AbortController();
  }

  /**
   * @param {{ name: string, file: File }[]} files
   * @returns {Photo[]}
   */
  add(files) {
    const photos = files.map(({ name, file }) => /** @type {Photo} */ ({ name, file, state: 'waiting', fraction: 0, reason: '' }));
    this.photos.push(...photos);
    this.pump();
    return photos;
  }

  /** @param {Photo} photo */
  drop(photo) {
    this.photos = this.photos.filter((each) => each !== photo);
  }

  /** Stop all of it. */
  stop() {
    this.stopped.abort();
  }

  pump() {
    while (this.active < AT_ONCE && !this.stopped.signal.aborted) {
      const photo = this.photos.find((each) => each.state === 'waiting');
      if (!photo) return;
      this.active += 1;
      this.deliver(photo).finally(() => {
        this.active -= 1;
        this.pump();
      });
    }
  }

  /** @param {Photo} photo */
  async deliver(photo) {
    this.set(photo, 'sending', '');
    let pause = FIRST_PAUSE_MS;
    while (!this.stopped.signal.aborted) {
      try {
        await this.put(photo);
        photo.fraction = 1;
        this.set(photo, 'stored', '');
        return;
      } catch (error) {
        if (error instanceof ProblemError && !reported(error).retryable && error.status !== 401) {
          this.set(photo, 'refused', error.message);
          return;
        }
        this.set(photo, 'broken', error instanceof Error ? error.message : String(error));
      }
      await rest(pause, this.stopped.signal);
      pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
    }
  }

  /** @param {Photo} photo */
  async put(photo) {
    const digest = await sha256(await photo.file.arrayBuffer());
    const url = at(`v1/captures/${this.captureId}/images/${encodeURIComponent(photo.name)}`);
    await transfer(url, photo.file, contentDigest(digest), this.stopped.signal, (fraction) => {
      photo.fraction = fraction;
      this.set(photo, 'sending', '');
    });
  }

  /**
   * @param {Photo} photo
   * @param {Photo['state']} state
   * @param {string} reason
   */
  set(photo, state, reason) {
    photo.state = state;
    photo.reason = reason;
    this.dispatchEvent(new CustomEvent('change', { detail: photo }));
  }
}

/**
 * Names for files in one capture, where each may stand once: phones call every new photo `image.jpg`.
 * @param {File[]} files
 * @param {string[]} taken
 */
export function nameFiles(files, taken) {
  const used = new Set(taken);
  return files.map((file) => {
    const plain = file.name.replace(/[\u0000-\u001f\u007f/\\]/g, '_').replace(/^[. ]+/, '_').slice(-120) || 'photo.jpg';
    const [, stem, ending] = /** @type {string[]} */ (/^(.*?)(\.[^.]*)?$/.exec(plain));
    let name = plain;
    for (let n = 2; used.has(name); n += 1) name = `${stem}-${n}${ending ?? ''}`;
    used.add(name);
    return { name, file };
  });
}

/**
 * The files that a capture does not have yet, by their bytes.
 * @param {{ name: string, file: File }[]} files
 * @param {{ name: string, bytes: number, sha256: string }[]} stored
 */
export async function missingFrom(files, stored) {
  const missing = [];
  for (const entry of files) {
    const there = stored.find((image) => image.name === entry.name && image.bytes === entry.file.size);
    const same = there && toHex(await sha256(await entry.file.arrayBuffer())) === there.sha256;
    if (!same) missing.push(entry);
  }
  return missing;
}

/**
 * PUT with progress, which fetch does not tell.
 * @param {string} url
 * @param {File} file
 * @param {string} digest
 * @param {AbortSignal} signal
 * @param {(fraction: number) => void} onProgress
 * @returns {Promise<void>}
 */
function transfer(url, file, digest, signal, onProgress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open('PUT', url);
    for (const [name, value] of Object.entries({ ...keyHeaders(), 'Content-Digest': digest })) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    request.onload = () => (request.status < 300 ? resolve() : reject(new ProblemError(request.status, parse(request.responseText))));
    request.onerror = () => reject(new Error('the connection broke'));
    request.onabort = () => reject(new Error('stopped'));
    signal.addEventListener('abort', () => request.abort(), { once: true });
    request.send(file);
  });
}

/** @param {string} text */
function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/**
 * Wait; no longer than until the network is back.
 * @param {number} milliseconds
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
function rest(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(go, milliseconds);
    addEventListener('online', go);
    signal.addEventListener('abort', go);
    function go() {
      clearTimeout(timer);
      removeEventListener('online', go);
      signal.removeEventListener('abort', go);
      resolve();
    }
  });
}
