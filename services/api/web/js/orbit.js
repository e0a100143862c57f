// Turning about a point with mouse, fingers or keys.

import { OrbitControls, Vector3 } from '../vendor/three.min.js';

const TURN = Math.PI / 24; // radians for one press of a key
const STEP = 1.15; // times nearer or farther
const POLES = 0.05; // radians that are kept from straight up and straight down

/** three.js' OrbitControls, with keys, and switched off while the view flies. */
export class Orbit {
  /**
   * @param {any} camera
   * @param {HTMLElement} element
   * @param {() => void} onChange
   */
  constructor(camera, element, onChange) {
    this.camera = camera;
    this.onChange = onChange;
    this.controls = new OrbitControls(camera, element);
    this.controls.enableDamping = true;
    this.controls.dampingFactor = 0.12;
    this.controls.zoomToCursor = true;
    this.controls.enabled = false;
    this.controls.addEventListener('change', onChange);
    this.controls.addEventListener('start', onChange);
    element.addEventListener('keydown', (event) => this.press(event));
  }

  /** @param {number} distance */
  set far(distance) {
    this.controls.maxDistance = distance;
    this.controls.minDistance = distance * 0.001;
  }

  /** @param {Vector3} target */
  start(target) {
    this.controls.target.copy(target);
    this.controls.enabled = true;
    this.controls.update();
    this.onChange();
  }

  stop() {
    this.controls.enabled = false;
  }

  /** Go on turning out; says whether the view still moves. */
  update() {
    return this.controls.enabled && this.controls.update();
  }

  dispose() {
    this.controls.dispose();
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    if (!this.controls.enabled || event.ctrlKey || event.metaKey || event.altKey) return;
    const turns = { ArrowLeft: [-TURN, 0, 1], ArrowRight: [TURN, 0, 1], ArrowUp: [0, -TURN, 1], ArrowDown: [0, TURN, 1] };
    const moves = { '+': [0, 0, 1 / STEP], '=': [0, 0, 1 / STEP], '-': [0, 0, STEP] };
    const way = /** @type {Record<string, number[]>} */ ({ ...turns, ...moves })[event.key];
    if (!way) return;
    event.preventDefault();
    this.turn(way[0], way[1], way[2]);
  }

  /**
   * @param {number} around
   * @param {number} over
   * @param {number} away
   */
  turn(around, over, away) {
    const offset = this.camera.position.clone().sub(this.controls.target);
    const length = offset.length() * away;
    const heading = Math.atan2(offset.x, offset.z) + around;
    const tilt = Math.acos(offset.y / offset.length()) + over;
    const safe = Math.min(Math.max(tilt, POLES), Math.PI - POLES);
    const side = Math.sin(safe);
    offset.set(side * Math.sin(heading), Math.cos(safe), side * Math.cos(heading)).multiplyScalar(length);
    this.camera.position.copy(this.controls.target).add(offset);
    this.controls.update();
    this.onChange();
  }
}
