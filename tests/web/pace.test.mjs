// Slow machines draw less, and only while they must.

import assert from 'node:assert/strict';
import { mock, test } from 'node:test';

import { Pace } from '../../services/api/web/js/pace.js';

/** A pace on a machine that takes so many milliseconds a frame. */
function paceOf(milliseconds, points) {
  let now = 1000;
  mock.method(performance, 'now', () => now);
  globalThis.requestAnimationFrame = (callback) => {
    now += milliseconds;
    callback(now);
    return 1;
  };
  const pace = new Pace(() => {});
  for (let i = 0; i < 20; i += 1) pace.note(points, false);
  pace.stop();
  mock.restoreAll();
  return pace;
}

test('a quick machine draws everything', () => {
  const pace = paceOf(16, 4e6);
  assert.equal(pace.share(4e6, true), 1);
  assert.equal(pace.share(4e6, false), 1);
});

test('a slow one draws what it can, more when the view stands still, and small scenes whole', () => {
  const pace = paceOf(1617, 4e6); // 0.4 ms for a thousand points
  assert.ok(Math.abs(pace.share(4e6, false) - 0.25) < 1e-6);
  assert.ok(Math.abs(pace.share(4e6, true) - 150_000 / 4e6) < 1e-6);
  assert.equal(pace.share(300_000, true), 1);
});

test('what is not known yet is tried', () => {
  assert.equal(new Pace(() => {}).share(4e6, true), 1);
});
