// Digests, events, names, numbers: what needs no browser.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';

import { formatBytes, formatCount, formatTimeLeft } from '../../services/api/web/js/format.js';
import { contentDigest, sha256, sha256InScript, toHex } from '../../services/api/web/js/sha256.js';
import { EventParser } from '../../services/api/web/js/sse.js';
import { CloudSample, quantile } from '../../services/api/web/js/statistics.js';
import { missingFrom, nameFiles } from '../../services/api/web/js/upload.js';

test('the digest is SHA-256, with and without the help of the browser', async () => {
  for (const length of [0, 1, 3, 55, 56, 63, 64, 65, 119, 120, 5000]) {
    const data = Uint8Array.from({ length }, (_, i) => (i * 7 + length) % 256);
    const known = createHash('sha256').update(data).digest();
    assert.equal(toHex(sha256InScript(data.buffer)), known.toString('hex'), `${length} bytes`);
    assert.equal(toHex(await sha256(data.buffer)), known.toString('hex'));
    assert.equal(contentDigest(await sha256(data.buffer)), `sha-256=:${known.toString('base64')}:`);
  }
});

test('events are the same however the stream is cut', () => {
  const text = ': hello\n\nid: 5-0\nevent: status\ndata: {"a":\ndata: 1}\n\r\nevent: x\r\ndata:y\r\n\r\nid: 6-0\n\ndata: last\n\ndata: unfinished';
  const expected = [
    { event: 'status', id: '5-0', data: '{"a":\n1}' },
    { event: 'x', id: '5-0', data: 'y' },
    { event: 'message', id: '6-0', data: 'last' },
  ];
  for (let size = 1; size <= text.length; size += 1) {
    const parser = new EventParser();
    const events = [];
    for (let at = 0; at < text.length; at += size) events.push(...parser.push(text.slice(at, at + size)));
    assert.deepEqual(events, expected, `pieces of ${size}`);
  }
});

test('every file of a capture has a name of its own that the service takes', () => {
  const names = (files, taken) => nameFiles(files.map((name) => ({ name })), taken).map((entry) => entry.name);
  assert.deepEqual(names(['image.jpg', 'image.jpg', 'image.jpg'], ['image.jpg']), ['image-2.jpg', 'image-3.jpg', 'image-4.jpg']);
  assert.deepEqual(names(['.hidden.png', ' a.png', 'b/c\\d\u0007.png', '', 'noending', 'noending'], []), [
    '_hidden.png',
    '_a.png',
    'b_c_d_.png',
    'photo.jpg',
    'noending',
    'noending-2',
  ]);
});

test('only what the capture lacks is sent again', async () => {
  const file = (text) => ({ size: text.length, arrayBuffer: async () => new TextEncoder().encode(text).buffer });
  const sum = (text) => createHash('sha256').update(text).digest('hex');
  const files = [
    { name: 'a', file: file('one') },
    { name: 'b', file: file('two') },
    { name: 'c', file: file('three') },
  ];
  const stored = [
    { name: 'a', bytes: 3, sha256: sum('one') },
    { name: 'b', bytes: 3, sha256: sum('other') },
  ];
  assert.deepEqual((await missingFrom(files, stored)).map((entry) => entry.name), ['b', 'c']);
});

test('numbers are said as people say them', () => {
  assert.deepEqual([0, 999, 1000, 52345, 3305210, 49999999].map(formatBytes), ['0 B', '999 B', '1.0 kB', '52 kB', '3.3 MB', '50 MB']);
  assert.deepEqual([3, 9999, 106607, 5_240_000].map(formatCount), ['3', '9\u202f999', '107 thousand', '5.2 million']);
  assert.deepEqual([2, 33, 70, 600, 9000].map(formatTimeLeft), [
    'a few seconds left',
    'about 35 s left',
    'about a minute left',
    'about 10 min left',
    'about 2.5 h left',
  ]);
});

test('the middle of a cloud is where its bulk is', () => {
  assert.equal(quantile([1, 2, 3, 4], 0.5), 2.5);
  assert.equal(quantile([], 0.5), 0);
  const sample = new CloudSample(1000);
  const count = 100;
  const positions = new Float32Array(3 * count);
  for (let i = 0; i < count; i += 1) positions[3 * i] = i < 95 ? 5 + Math.cos(i) : 1e6;
  sample.add({ count, positions, colors: new Uint8Array(4 * count), confidence: new Float32Array(count), component: null });
  const { centre, radius } = sample.bulk(0);
  assert.ok(Math.abs(centre[0] - 5) < 0.3 && radius <= 1.4, `${centre} ${radius}`);
  assert.deepEqual(sample.components(), [0]);
});
