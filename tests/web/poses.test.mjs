// The viewer's cameras see what the photos saw: the same pixel by K and by the viewer's matrices.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { between, cameraSize, photoWindow, readCameras, screenPose, straightWindow, widen, worldUp } from '../../services/api/web/js/poses.js';

const LEAN = Math.PI / 7;
const POSE = [
  [Math.cos(LEAN), 0, Math.sin(LEAN), 0.5],
  [0, 1, 0, -0.25],
  [-Math.sin(LEAN), 0, Math.cos(LEAN), 2],
  [0, 0, 0, 1],
];
const CAMERA = { name: 'a.jpg', component: 0, width: 640, height: 480, K: [[500, 0, 300.5], [0, 510, 250.25], [0, 0, 1]], pose: POSE };

/** Pixel (centres at integers) of a point in the world, by the pinhole formula. */
function byPinhole({ K, pose }, point) {
  const moved = point.map((value, i) => value - pose[i][3]);
  const [x, y, z] = [0, 1, 2].map((column) => moved.reduce((sum, value, row) => sum + value * pose[row][column], 0));
  return [(K[0][0] * x) / z + K[0][2], (K[1][1] * y) / z + K[1][2]];
}

/** The same by the viewer: into the camera's OpenGL frame, through the window, onto the photo. */
function byViewer(camera, point) {
  const m = screenPose(camera.pose);
  const moved = point.map((value, i) => value - m[12 + i]);
  const [x, y, z] = [0, 1, 2].map((column) => moved.reduce((sum, value, row) => sum + value * m[4 * column + row], 0));
  const { left, right, top, bottom } = photoWindow(camera);
  const u = (x / -z - left) / (right - left);
  const v = (top - y / -z) / (top - bottom);
  return [u * camera.width - 0.5, v * camera.height - 0.5];
}

test('a point falls on the same pixel by K and by the viewer', () => {
  for (const point of [[1.2, 0.3, 5], [2, -1, 4], [0.7, 0.1, 9]]) {
    const [u, v] = byPinhole(CAMERA, point);
    const [x, y] = byViewer(CAMERA, point);
    assert.ok(Math.abs(u - x) < 1e-9 && Math.abs(v - y) < 1e-9, `${u} ${v} and ${x} ${y}`);
  }
});

test('a window is widened to the screen and never cut', () => {
  const inner = photoWindow(CAMERA);
  for (const aspect of [0.5, 4 / 3, 2.4]) {
    const { left, right, top, bottom } = widen(inner, aspect);
    assert.ok(Math.abs((right - left) / (top - bottom) - aspect) < 1e-9);
    assert.ok(left <= inner.left + 1e-12 && right >= inner.right - 1e-12 && top >= inner.top - 1e-12 && bottom <= inner.bottom + 1e-12);
    assert.ok(Math.abs(left + right - inner.left - inner.right) < 1e-9, 'the middle stays');
  }
});

test('half way is half way', () => {
  const window = between(straightWindow(90, 1), straightWindow(90, 3), 0.5);
  assert.ok(Math.abs(window.right - 2) < 1e-9 && Math.abs(window.top - 1) < 1e-9);
});

test('up is where the photographers held it', () => {
  const rolled = structuredClone(CAMERA);
  rolled.pose = [[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]; // its y axis points to -x
  assert.deepEqual(worldUp([CAMERA]).map((value) => value + 0), [0, -1, 0]);
  const [x, y] = worldUp([CAMERA, rolled]);
  assert.ok(Math.abs(x - Math.SQRT1_2) < 1e-9 && Math.abs(y + Math.SQRT1_2) < 1e-9);
  assert.deepEqual(worldUp([]), [0, -1, 0]);
});

test('cameras are drawn smaller than their distance, within bounds', () => {
  const row = (step) => [0, 1, 2, 3].map((i) => ({ ...CAMERA, pose: POSE.map((r, k) => (k ? r : [...r.slice(0, 3), i * step])) }));
  assert.ok(Math.abs(cameraSize(row(0.1), 1) - 0.1) < 1e-9);
  assert.equal(cameraSize(row(1e-4), 1), 0.03);
  assert.equal(cameraSize(row(50), 1), 0.16);
  assert.equal(cameraSize([CAMERA], 2), 0.32);
});

test('photos without a camera are left out', () => {
  const seen = { name: 'a', registered: true, component: 0, width: 4, height: 3, K: CAMERA.K, cam2world: POSE };
  const document = { schema_version: 1, images: [seen, { name: 'b', registered: false, K: null, cam2world: null }] };
  assert.deepEqual(readCameras(document).map((camera) => camera.name), ['a']);
  assert.throws(() => readCameras({ schema_version: 2, images: [] }), /schema_version 2/);
});
