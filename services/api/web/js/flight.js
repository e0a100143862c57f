// From one view to another, softly; at once for people who want less motion.

import { Quaternion, Vector3 } from '../vendor/three.min.js';
import { between } from './poses.js';

/**
 * @typedef {object} View
 * @property {Vector3} position
 * @property {Quaternion} quaternion
 * @property {import('./poses.js').Window} window
 */

const MILLISECONDS = 600;

/** The way between two views. */
export class Flight {
  constructor() {
    /** @type {{ from: View, to: View, began: number | null, land: () => void } | null} */
    this.way = null;
    this.still = matchMedia('(prefers-reduced-motion: reduce)');
  }

  get flying() {
    return this.way !== null;
  }

  /**
   * Begin; a flight that is under way ends where it is.
   * @param {View} from
   * @param {View} to
   * @returns {Promise<void>} when it has landed; never, when another began before
   */
  start(from, to) {
    return new Promise((resolve) => {
      this.way = { from, to, began: null, land: resolve };
    });
  }

  /**
   * Where the flight is now.
   * @param {number} now milliseconds
   * @returns {View | null} null: nobody flies
   */
  at(now) {
    if (!this.way) return null;
    const { from, to, land } = this.way;
    const began = this.way.began ?? now;
    this.way.began = began;
    const t = this.still.matches ? 1 : Math.min(1, (now - began) / MILLISECONDS);
    if (t === 1) {
      this.way = null;
      land();
      return to;
    }
    const eased = t * t * (3 - 2 * t);
    return {
      position: new Vector3().lerpVectors(from.position, to.position, eased),
      quaternion: new Quaternion().slerpQuaternions(from.quaternion, to.quaternion, eased),
      window: between(from.window, to.window, eased),
    };
  }
}
