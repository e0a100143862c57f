// Talking to the service the page came from. Addresses are relative to the page, so a proxy's prefix needs no setting.

const KEY = 'm3r.key';

/** What the service refused, in its own words (RFC 9457). */
export class ProblemError extends Error {
  /**
   * @param {number} status
   * @param {any} problem
   */
  constructor(status, problem) {
    const details = (problem?.errors ?? []).map((/** @type {any} */ error) => error.message).join('; ');
    super(problem?.detail || details || `the service answered ${status}`);
    this.name = 'ProblemError';
    this.status = status;
    this.code = problem?.code ?? 'unknown';
    this.retryable = problem?.retryable ?? (status >= 500 || status === 408 || status === 429);
  }
}

/** The service did not answer at all. */
export class NoAnswerError extends Error {
  constructor() {
    super('the service does not answer; is the network there?');
    this.name = 'NoAnswerError';
    this.retryable = true;
  }
}

/** The API key of this tab, if one was given. It is forgotten when the tab is closed. */
export function apiKey() {
  try {
    return sessionStorage.getItem(KEY) ?? '';
  } catch {
    return '';
  }
}

/** @param {string} key */
export function setApiKey(key) {
  if (key) sessionStorage.setItem(KEY, key);
  else sessionStorage.removeItem(KEY);
}

/** @returns {Record<string, string>} */
export function keyHeaders() {
  const key = apiKey();
  return key ? { Authorization: `Bearer ${key}` } : {};
}

/**
 * The address of something of the service.
 * @param {string} path `v1/…`
 */
export function at(path) {
  return new URL(path, document.baseURI.replace(/[?#].*$/, '')).href;
}

/**
 * The same thing at the address this page was loaded from: a service may know itself by another.
 * @param {string} url
 */
export function here(url) {
  return at(url.slice(url.indexOf('/v1/') + 1));
}

/**
 * Send a request and give the response, whatever its status.
 * @param {string} method
 * @param {string} path
 * @param {{ json?: unknown, headers?: Record<string, string>, signal?: AbortSignal }} [options]
 */
export async function send(method, path, { json, headers = {}, signal } = {}) {
  const body = json === undefined ? undefined : JSON.stringify(json);
  /** @type {Record<string, string>} */
  const type = json === undefined ? {} : { 'Content-Type': 'application/json' };
  try {
    return await fetch(at(path), { method, body, signal, cache: 'no-store', headers: { ...keyHeaders(), ...type, ...headers } });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new NoAnswerError();
  }
}

/**
 * Send a request and give the JSON that is answered.
 * @param {string} method
 * @param {string} path
 * @param {Parameters<typeof send>[2]} [options]
 * @returns {Promise<any>}
 */
export async function call(method, path, options) {
  const response = await send(method, path, options);
  const isJson = (response.headers.get('content-type') ?? '').includes('json');
  const body = isJson ? await response.json().catch(() => null) : null;
  if (!response.ok) throw reported(new ProblemError(response.status, body));
  return body;
}

/** Tells the page that a key is wanted, or a better one. */
export const keyWanted = new EventTarget();

/**
 * Tell of it where it is the key that is wrong.
 * @param {ProblemError} problem
 */
export function reported(problem) {
  if (problem.status === 401) keyWanted.dispatchEvent(new CustomEvent('wanted', { detail: problem.message }));
  return problem;
}

/** @param {string} jobId */
export function jobPath(jobId) {
  return `v1/jobs/${encodeURIComponent(jobId)}`;
}

/**
 * Say what went wrong, in a sentence.
 * @param {unknown} error
 */
export function wordsOf(error) {
  const text = error instanceof Error ? error.message : String(error);
  return text.charAt(0).toUpperCase() + text.slice(1);
}
