// Pictures of the service. They are fetched, not named in an `img`: the service may send us on to an object store elsewhere, which
// the page's policy allows to be read but not to be shown from.

import { here } from './service.js';

const AT_ONCE = 4;

/**
 * Fetch a picture.
 * @param {string | undefined} url signed
 * @param {AbortSignal} signal
 * @returns {Promise<Blob | null>} null: it cannot be had
 */
export async function fetchPicture(url, signal) {
  if (!url) return null;
  try {
    const response = await fetch(here(url), { signal });
    return response.ok ? await response.blob() : null;
  } catch {
    return null;
  }
}

/**
 * Fetch and decode photos, a few at a time.
 * @param {string[]} names
 * @param {Record<string, string>} urls by name
 * @param {AbortSignal} signal
 * @returns {Promise<ImageBitmap | null>[]} in the order of the names; null: it cannot be had
 */
export function fetchPictures(names, urls, signal) {
  /** @type {Promise<unknown>[]} */
  const lanes = Array.from({ length: AT_ONCE }, () => Promise.resolve());
  return names.map((name, i) => {
    const picture = lanes[i % AT_ONCE].then(async () => {
      const blob = await fetchPicture(urls[name], signal);
      return blob && createImageBitmap(blob).catch(() => null);
    });
    lanes[i % AT_ONCE] = picture;
    return picture;
  });
}
