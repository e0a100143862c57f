// A worker: fetches a cloud and hands its points over as they come, so that the page never waits for them.

import { PlyReader } from './ply.js';

const ENOUGH = 4 << 20; // bytes decoded at a time: 100,000 points or so

self.addEventListener('message', async ({ data }) => {
  try {
    await read(data.url, data.limit);
  } catch (error) {
    self.postMessage({ kind: 'failed', message: error instanceof Error ? error.message : String(error) });
  }
});

/**
 * @param {string} url
 * @param {number} limit
 */
async function read(url, limit) {
  const response = await fetch(url);
  if (!response.ok || !response.body) throw new Error(`the service answered ${response.status}`);
  const cloud = new PlyReader(limit, true);
  const stream = response.body.getReader();
  /** @type {Uint8Array[]} */
  let pending = [];
  let size = 0;
  for (;;) {
    const { done, value } = await stream.read();
    if (value) {
      pending.push(value);
      size += value.length;
    }
    if (done || size >= ENOUGH) {
      send(cloud, gather(pending, size));
      pending = [];
      size = 0;
    }
    if (done) break;
  }
  if (!cloud.done) throw new Error('the file ended too early');
  self.postMessage({ kind: 'done', total: cloud.header?.count ?? 0 });
}

/**
 * @param {PlyReader} cloud
 * @param {Uint8Array} bytes
 */
function send(cloud, bytes) {
  const chunk = cloud.push(bytes);
  if (!chunk) return;
  const buffers = [chunk.positions.buffer, chunk.colors.buffer, chunk.confidence.buffer];
  if (chunk.component) buffers.push(chunk.component.buffer);
  const message = { kind: 'points', chunk, fraction: cloud.seen / Math.max(1, cloud.header?.count ?? 1) };
  /** @type {any} */ (self).postMessage(message, buffers);
}

/**
 * @param {Uint8Array[]} pieces
 * @param {number} size
 */
function gather(pieces, size) {
  const all = new Uint8Array(size);
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}
