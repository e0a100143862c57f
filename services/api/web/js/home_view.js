// Where the whole scene is seen from.

import { PerspectiveCamera, Vector3 } from '../vendor/three.min.js';

const LIFT = 0.35; // of the way back: how far above the cameras the whole scene is seen from
const NEAR = 2.2; // radii: the bulk fills the screen
const TOWARDS_CAMERAS = 0.2; // of the way from what was seen: the middle of the picture
const FAR = 9; // radii: a camera farther off does not make the scene a speck

/**
 * Behind the cameras and above them, and far enough that both they and the bulk of what they saw are in sight.
 * @param {Vector3[]} eyes where the cameras are
 * @param {Vector3} seen the middle of what they saw
 * @param {number} radius of its bulk
 * @param {import('./poses.js').Window} window symmetric
 * @returns {{ view: import('./flight.js').View, centre: Vector3 }} and the point to turn about
 */
export function wholeScene(eyes, seen, radius, window) {
  const eye = eyes.length ? eyes.reduce((sum, each) => sum.add(each), new Vector3()).divideScalar(eyes.length) : seen.clone();
  const centre = seen.clone().lerp(eye, TOWARDS_CAMERAS);
  const back = eye.sub(centre);
  if (back.length() < 0.05 * radius) back.set(0, 0, 1);
  back.normalize().add(new Vector3(0, LIFT, 0)).normalize();
  const quaternion = facing(back, new Vector3());
  const away = eyes.map((each) => each.clone().sub(centre).applyQuaternion(quaternion.clone().invert()));
  const needed = away.map(({ x, y, z }) => Math.max(Math.abs(x), Math.abs(y)) / (0.9 * window.top) + z);
  const distance = Math.min(Math.max(NEAR * radius, ...needed), FAR * radius);
  return { view: { position: centre.clone().addScaledVector(back, distance), quaternion, window }, centre };
}

/**
 * How a camera at a place is turned when it looks at another.
 * @param {Vector3} position
 * @param {Vector3} target
 */
export function facing(position, target) {
  const camera = new PerspectiveCamera();
  camera.position.copy(position);
  camera.lookAt(target);
  return camera.quaternion.clone();
}
