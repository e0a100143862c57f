// What is being sent, kept in the browser, so that a reload or a closed tab loses nothing: the capture's id, and the files.

const CAPTURE = 'm3r.capture';
const DATABASE = 'm3r';
const FILES = 'files';

/** The capture that was being filled, if any. */
export function draftCapture() {
  try {
    return localStorage.getItem(CAPTURE);
  } catch {
    return null;
  }
}

/**
 * Keep the id of the capture.
 * @param {string} captureId
 */
export function keepCapture(captureId) {
  try {
    localStorage.setItem(CAPTURE, captureId);
  } catch {
    // A browser that keeps nothing: a reload begins anew.
  }
}

/**
 * Keep files that are on their way.
 * @param {string} captureId
 * @param {{ name: string, file: File }[]} files
 */
export async function keepFiles(captureId, files) {
  await inStore('readwrite', (store) => {
    for (const { name, file } of files) store.put({ captureId, name, file }, `${captureId}/${name}`);
  });
}

/**
 * The files that were on their way.
 * @param {string} captureId
 * @returns {Promise<{ name: string, file: File }[]>}
 */
export async function keptFiles(captureId) {
  const rows = await inStore('readonly', (store) => store.getAll());
  return (rows ?? []).filter((/** @type {any} */ row) => row.captureId === captureId);
}

/**
 * Forget one file: it has arrived, or is not wanted.
 * @param {string} captureId
 * @param {string} name
 */
export async function forgetFile(captureId, name) {
  await inStore('readwrite', (store) => store.delete(`${captureId}/${name}`));
}

/** Forget everything. */
export async function forgetDraft() {
  try {
    localStorage.removeItem(CAPTURE);
  } catch {
    // Nothing was kept.
  }
  await inStore('readwrite', (store) => store.clear());
}

/**
 * Do something in the database. A browser without one (private windows) or without room gives null: then a reload asks for
 * the files again, nothing else is lost.
 * @param {IDBTransactionMode} mode
 * @param {(store: IDBObjectStore) => IDBRequest | void} work
 * @returns {Promise<any>}
 */
async function inStore(mode, work) {
  try {
    const database = await open();
    try {
      return await new Promise((resolve, reject) => {
        const transaction = database.transaction(FILES, mode);
        const request = work(transaction.objectStore(FILES));
        transaction.oncomplete = () => resolve(request ? request.result : null);
        transaction.onabort = () => reject(transaction.error);
      });
    } finally {
      database.close();
    }
  } catch {
    return null;
  }
}

/** @returns {Promise<IDBDatabase>} */
function open() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(FILES);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
