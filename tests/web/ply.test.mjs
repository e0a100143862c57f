// Clouds are read right however the network cuts them, and no more of them than asked for.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { PlyReader, readHeader } from '../../services/api/web/js/ply.js';

const STRIDE = 6 * 4 + 3 + 4 + 4;

/** A file as the service writes it: point i lies at (i, 2i, -i), is (i, i + 1, i + 2) coloured and sure of i / 10. */
function cloud(count, { component = false, format = 'binary_little_endian' } = {}) {
  const lines = ['ply', `format ${format} 1.0`, 'comment unit metre', `element vertex ${count}`];
  for (const name of ['x', 'y', 'z', 'nx', 'ny', 'nz']) lines.push(`property float ${name}`);
  for (const name of ['red', 'green', 'blue']) lines.push(`property uchar ${name}`);
  lines.push('property float confidence');
  if (component) lines.push('property int component');
  const head = Buffer.from([...lines, 'end_header', ''].join('\n'));
  const stride = component ? STRIDE : STRIDE - 4;
  const body = Buffer.alloc(count * stride);
  for (let i = 0; i < count; i += 1) {
    const at = i * stride;
    [i, 2 * i, -i, 0, 0, 1].forEach((value, axis) => body.writeFloatLE(value, at + 4 * axis));
    [i % 250, (i + 1) % 250, (i + 2) % 250].forEach((value, axis) => body.writeUInt8(value, at + 24 + axis));
    body.writeFloatLE(i / 10, at + 27);
    if (component) body.writeInt32LE(i % 3, at + 31);
  }
  return Buffer.concat([head, body]);
}

function readInPieces(bytes, size, limit = 1e9) {
  const reader = new PlyReader(limit);
  const chunks = [];
  for (let at = 0; at < bytes.length; at += size) {
    const chunk = reader.push(new Uint8Array(bytes.subarray(at, at + size)));
    if (chunk) chunks.push(chunk);
  }
  const gather = (name) => chunks.flatMap((chunk) => [...chunk[name]]);
  return { reader, chunks, positions: gather('positions'), colors: gather('colors'), confidence: gather('confidence') };
}

test('pieces of any size give the same points', () => {
  const bytes = cloud(40);
  for (const size of [1, 7, 31, 32, 500, bytes.length]) {
    const { reader, positions, colors, confidence } = readInPieces(bytes, size);
    assert.ok(reader.done);
    assert.deepEqual(positions.slice(0, 9), [0, 0, -0, 1, 2, -1, 2, 4, -2]);
    assert.deepEqual(positions.slice(-3), [39, 78, -39]);
    assert.deepEqual(colors.slice(4, 8), [1, 2, 3, 255]);
    assert.ok(Math.abs(confidence[39] - 3.9) < 1e-6);
    assert.equal(positions.length, 120);
  }
});

test('the parts of a scene come with the points', () => {
  const { chunks } = readInPieces(cloud(7, { component: true }), 1e6);
  assert.deepEqual([...chunks[0].component], [0, 1, 2, 0, 1, 2, 0]);
  assert.equal(readInPieces(cloud(7), 1e6).chunks[0].component, null);
});

test('of too many points an even share is kept', () => {
  const { reader, positions } = readInPieces(cloud(20000), 4096, 5000);
  assert.ok(reader.done);
  const kept = positions.filter((_, i) => i % 3 === 0);
  assert.ok(Math.abs(kept.length - 5000) < 10, `${kept.length} kept`);
  for (let quarter = 0; quarter < 4; quarter += 1) {
    const inside = kept.filter((x) => x >= quarter * 5000 && x < (quarter + 1) * 5000).length;
    assert.ok(Math.abs(inside - 1250) < 10, `${inside} in quarter ${quarter}`);
  }
  const gaps = kept.slice(1).map((x, i) => x - kept[i]);
  assert.ok(Math.max(...gaps) <= 8);
});

test('a file that is cut off is not done', () => {
  const bytes = cloud(10);
  assert.equal(readInPieces(bytes.subarray(0, bytes.length - 1), 64).reader.done, false);
});

test('what cannot be read is said', () => {
  const bytes = (text) => new Uint8Array(Buffer.from(text));
  assert.equal(readHeader(bytes('ply\nformat bin')), null);
  assert.throws(() => readHeader(bytes('PK\u0003\u0004 a zip')), /does not begin like a PLY/);
  assert.throws(() => new PlyReader(10).push(new Uint8Array(cloud(1, { format: 'ascii' }))), /not binary little-endian/);
  const list = 'ply\nformat binary_little_endian 1.0\nelement vertex 1\nproperty list uchar int x\nend_header\n';
  assert.throws(() => readHeader(bytes(list)), /type list/);
  const flat = 'ply\nformat binary_little_endian 1.0\nelement vertex 1\nproperty float x\nend_header\n';
  assert.throws(() => readHeader(bytes(flat)), /no x, y, z/);
  assert.throws(() => readHeader(bytes(`ply\n${'comment '.repeat(9000)}`)), /does not end/);
});

test('shuffled, every part of a chunk is an even share of it', () => {
  const reader = new PlyReader(1e9, true);
  const chunk = reader.push(new Uint8Array(cloud(3000)));
  const xs = [...chunk.positions].filter((_, i) => i % 3 === 0);
  assert.deepEqual(xs.toSorted((a, b) => a - b), Array.from({ length: 3000 }, (_, i) => i));
  const early = xs.slice(0, 300);
  for (let third = 0; third < 3; third += 1) {
    const inside = early.filter((x) => x >= third * 1000 && x < (third + 1) * 1000).length;
    assert.ok(inside > 70 && inside < 130, `${inside} of 300 in part ${third}`);
  }
  chunk.confidence.forEach((value, i) => assert.ok(Math.abs(value - xs[i] / 10) < 1e-3, 'each point keeps its own'));
});
