// The picture on the screen: draws when something has changed, turns about a point, and flies to cameras and back.

import { Group, PerspectiveCamera, Quaternion, Scene, Vector2, Vector3, WebGLRenderer } from '../vendor/three.min.js';
import { Flight } from './flight.js';
import { facing, wholeScene } from './home_view.js';
import { Orbit } from './orbit.js';
import { Pace } from './pace.js';
import { photoWindow, screenPose, straightWindow, widen, worldUp } from './poses.js';

/** @typedef {import('./poses.js').Camera} Camera */
/** @typedef {import('./flight.js').View} View */

const FIELD_OF_VIEW = 45; // degrees across the shorter side
const STILL_PX = 6; // a finger that moves less has tapped
const SHARPEST = 2; // screen pixels per CSS pixel beyond which nobody sees a difference

/** Say whether this browser can draw in three dimensions. */
export function hasWebGL() {
  try {
    return document.createElement('canvas').getContext('webgl2') !== null;
  } catch {
    return false;
  }
}

/** A canvas with a scene. */
export class Viewer extends EventTarget {
  /**
   * @param {HTMLCanvasElement} canvas
   */
  constructor(canvas) {
    super();
    this.canvas = canvas;
    this.renderer = new WebGLRenderer({ canvas, antialias: true, alpha: true, powerPreference: 'high-performance' });
    this.scene = new Scene();
    this.world = new Group(); // poses.json's world, turned so that up is up
    this.scene.add(this.world);
    this.camera = new PerspectiveCamera();
    this.camera.updateProjectionMatrix = () => this.project();
    this.window = straightWindow(FIELD_OF_VIEW, 1);
    this.flight = new Flight();
    this.pace = new Pace(() => this.draw());
    /** @type {import('./cloud.js').Cloud | null} */
    this.cloud = null;
    this.orbit = new Orbit(this.camera, canvas, () => this.draw());
    /** @type {Camera | null} */
    this.through = null;
    /** @type {{ pick: (place: any, camera: any) => number } | null} */
    this.targets = null;
    this.waiting = 0;
    this.radius = 1;
    this.homeDistance = 1;
    this.touched = false; // somebody has turned it already
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(canvas);
    this.listen();
  }

  /**
   * Turn the world upright and say how large its bulk is.
   * @param {Camera[]} cameras
   * @param {{ centre: number[], radius: number }} bulk in the world of poses.json
   */
  place(cameras, bulk) {
    this.world.quaternion.setFromUnitVectors(new Vector3(...worldUp(cameras)), new Vector3(0, 1, 0));
    this.world.updateMatrixWorld(true);
    this.radius = bulk.radius;
    const seen = new Vector3(...bulk.centre).applyQuaternion(this.world.quaternion);
    const eyes = cameras.map((camera) => this.viewOf(camera).position);
    const { view, centre } = wholeScene(eyes, seen, bulk.radius, straightWindow(FIELD_OF_VIEW, 1));
    this.home = view;
    this.centre = centre;
    this.homeDistance = view.position.distanceTo(centre);
    this.camera.near = bulk.radius * 0.002;
    this.camera.far = bulk.radius * 60;
    this.orbit.far = bulk.radius * 12;
  }

  /** Go to where the whole scene is seen. */
  async goHome() {
    if (!this.home || !this.centre) return;
    this.through = null;
    await this.fly(this.home);
    this.orbit.start(this.centre);
  }

  /**
   * Look through a camera, with its own intrinsics.
   * @param {Camera} camera
   */
  async lookThrough(camera) {
    this.orbit.stop();
    this.through = camera;
    await this.fly(this.viewOf(camera));
  }

  /** Leave the camera that is looked through; the view stays about where it is. */
  async leave() {
    if (!this.through || !this.centre) return;
    this.through = null;
    const ahead = new Vector3(0, 0, -1).applyQuaternion(this.camera.quaternion);
    const depth = Math.max(this.radius * 0.2, this.centre.clone().sub(this.camera.position).dot(ahead));
    const target = this.camera.position.clone().addScaledVector(ahead, depth);
    const position = this.camera.position.clone().addScaledVector(ahead, -0.1 * depth);
    await this.fly({ position, quaternion: facing(position, target), window: straightWindow(FIELD_OF_VIEW, 1) });
    this.orbit.start(target);
  }

  /** Draw at the next occasion. */
  draw() {
    if (!this.waiting) this.waiting = requestAnimationFrame((now) => this.frame(now));
  }

  /** Stop everything and free what the graphics card holds. */
  dispose() {
    cancelAnimationFrame(this.waiting);
    this.pace.stop();
    this.waiting = -1; // nothing is drawn any more
    this.observer.disconnect();
    this.orbit.dispose();
    this.renderer.dispose();
    this.renderer.forceContextLoss(); // a browser allows a page only so many
  }

  /** @param {number} now */
  frame(now) {
    this.waiting = 0;
    const view = this.flight.at(now);
    if (view) this.take(view);
    const moving = this.flight.flying || this.orbit.update();
    this.camera.updateMatrixWorld();
    this.project();
    const drawn = this.cloud?.showShare(this.pace.share(this.cloud.count, moving)) ?? 0;
    this.renderer.render(this.scene, this.camera);
    this.pace.note(drawn, moving);
    if (moving) this.draw();
  }

  /** @param {View} view */
  take(view) {
    this.camera.position.copy(view.position);
    this.camera.quaternion.copy(view.quaternion);
    this.window = view.window;
  }

  /** @param {View} view */
  fly(view) {
    this.orbit.stop();
    const from = { position: this.camera.position.clone(), quaternion: this.camera.quaternion.clone(), window: this.window };
    const landed = this.flight.start(from, view);
    this.draw();
    return landed;
  }

  project() {
    const { near, far } = this.camera;
    const aspect = this.canvas.clientWidth / Math.max(1, this.canvas.clientHeight);
    const { left, right, top, bottom } = widen(this.window, aspect);
    this.camera.fov = (Math.atan(top) * 360) / Math.PI; // what dragging goes by
    this.camera.projectionMatrix.makePerspective(left * near, right * near, top * near, bottom * near, near, far);
    this.camera.projectionMatrixInverse.copy(this.camera.projectionMatrix).invert();
  }

  /**
   * @param {Camera} camera
   * @returns {View}
   */
  viewOf(camera) {
    this.world.updateMatrixWorld(true);
    const pose = this.world.matrixWorld.clone();
    pose.multiply(pose.clone().fromArray(screenPose(camera.pose)));
    const position = new Vector3();
    const quaternion = new Quaternion();
    pose.decompose(position, quaternion, new Vector3());
    return { position, quaternion, window: photoWindow(camera) };
  }

  resize() {
    this.renderer.setPixelRatio(Math.min(devicePixelRatio, SHARPEST));
    this.renderer.setSize(this.canvas.clientWidth, this.canvas.clientHeight, false);
    if (this.waiting >= 0) this.frame(performance.now()); // at once: a resized canvas is empty
  }

  listen() {
    /** @type {{ x: number, y: number } | null} */
    let down = null;
    this.canvas.addEventListener('pointerdown', (event) => {
      down = { x: event.clientX, y: event.clientY };
      this.touched = true;
    });
    this.canvas.addEventListener('pointermove', (event) => {
      if (event.buttons && down && this.through && far(down, event)) this.dispatchEvent(new Event('leave'));
      if (!event.buttons) this.canvas.classList.toggle('over-camera', this.under(event) >= 0);
    });
    this.canvas.addEventListener('pointerup', (event) => {
      const index = down && !far(down, event) ? this.under(event) : -1;
      if (index >= 0) this.dispatchEvent(new CustomEvent('pick', { detail: index }));
      down = null;
    });
    this.canvas.addEventListener('webglcontextrestored', () => this.draw());
    this.canvas.addEventListener('wheel', () => this.through && this.dispatchEvent(new Event('leave')), { passive: true });
  }

  /** @param {PointerEvent} event */
  under(event) {
    if (this.through || !this.targets) return -1;
    const box = this.canvas.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * 2 - 1;
    const y = 1 - ((event.clientY - box.top) / box.height) * 2;
    return this.targets.pick(new Vector2(x, y), this.camera);
  }
}

/**
 * @param {{ x: number, y: number }} from
 * @param {PointerEvent} event
 */
function far(from, event) {
  return Math.hypot(event.clientX - from.x, event.clientY - from.y) > STILL_PX;
}
