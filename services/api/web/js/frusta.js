// The cameras on the screen: a frustum each, with its photo where the picture plane is.

import { BufferAttribute, BufferGeometry, Group, LineBasicMaterial, LineSegments, Matrix4, Mesh, MeshBasicMaterial, Raycaster, SRGBColorSpace, Texture } from '../vendor/three.min.js';
import { photoWindow, screenPose } from './poses.js';

/** @typedef {import('./poses.js').Camera} Camera */

/** All cameras of a scene. */
export class Frusta {
  /**
   * @param {Camera[]} cameras
   * @param {number} size distance from a camera to its picture plane
   * @param {{ line: string, chosen: string }} colours
   */
  constructor(cameras, size, colours) {
    this.group = new Group();
    this.colours = colours;
    this.chosen = -1;
    this.items = cameras.map((camera) => makeFrustum(camera, size, colours.line));
    this.group.add(...this.items.map((item) => item.group));
  }

  /**
   * Put a photo on its picture plane.
   * @param {number} index
   * @param {ImageBitmap} bitmap
   */
  setPhoto(index, bitmap) {
    const texture = new Texture(bitmap);
    texture.flipY = false;
    texture.colorSpace = SRGBColorSpace;
    texture.needsUpdate = true;
    const { material } = this.items[index].plane;
    material.map = texture;
    material.opacity = 1;
    material.color.set('#ffffff');
    material.needsUpdate = true;
  }

  /**
   * Show one camera as chosen; -1: none.
   * @param {number} index
   */
  choose(index) {
    this.chosen = index;
    this.items.forEach((item, i) => item.lines.material.color.set(i === index ? this.colours.chosen : this.colours.line));
  }

  /**
   * While somebody looks through a camera: only its photo, in front of everything, as clear as wanted. null: as before.
   * @param {number | null} index
   * @param {number} opacity
   */
  lookThrough(index, opacity) {
    this.items.forEach((item, i) => {
      item.lines.visible = index === null;
      item.plane.visible = index === null || (i === index && opacity > 0 && item.plane.material.map !== null);
      item.plane.material.depthTest = index === null;
      item.plane.material.opacity = index === null ? (item.plane.material.map ? 1 : 0.25) : opacity;
      item.plane.renderOrder = index === null ? 0 : 10;
    });
  }

  /** @param {number} component */
  showComponent(component) {
    for (const item of this.items) item.group.visible = item.camera.component === component;
  }

  /**
   * The camera under a place on the screen.
   * @param {any} place x and y from -1 to 1
   * @param {any} camera the screen's
   * @returns {number} -1: none
   */
  pick(place, camera) {
    const ray = new Raycaster();
    ray.setFromCamera(place, camera);
    const planes = this.items.filter((item) => item.group.visible).map((item) => item.plane);
    const hit = ray.intersectObjects(planes, false)[0];
    return hit ? this.items.findIndex((item) => item.plane === hit.object) : -1;
  }

  dispose() {
    for (const { lines, plane } of this.items) {
      plane.material.map?.dispose();
      for (const part of [lines, plane]) {
        part.geometry.dispose();
        part.material.dispose();
      }
    }
  }
}

/**
 * @param {Camera} camera
 * @param {number} size
 * @param {string} colour
 */
function makeFrustum(camera, size, colour) {
  const { left, right, top, bottom } = photoWindow(camera);
  const depth = size / Math.max(1, right - left); // wide lenses reach less far
  const corners = [
    [left, top],
    [right, top],
    [right, bottom],
    [left, bottom],
  ].map(([x, y]) => [x * depth, y * depth, -depth]);
  const group = new Group();
  group.matrixAutoUpdate = false;
  group.matrix = new Matrix4().fromArray(screenPose(camera.pose));
  const lines = new LineSegments(shape(edges(corners)), new LineBasicMaterial({ color: colour }));
  const plane = new Mesh(picture(corners), new MeshBasicMaterial({ color: colour, transparent: true, opacity: 0.25, side: 2 }));
  group.add(plane, lines);
  return { camera, group, lines, plane };
}

/** @param {number[][]} corners */
function edges(corners) {
  const eye = [0, 0, 0];
  return corners.flatMap((corner, i) => [eye, corner, corner, corners[(i + 1) % 4]]).flat();
}

/** @param {number[][]} corners */
function picture(corners) {
  const geometry = shape([0, 3, 1, 1, 3, 2].flatMap((i) => corners[i]));
  const places = [0, 0, 0, 1, 1, 0, 1, 0, 0, 1, 1, 1]; // v grows downwards, as rows of pixels do
  geometry.setAttribute('uv', new BufferAttribute(new Float32Array(places), 2));
  return geometry;
}

/** @param {number[]} positions */
function shape(positions) {
  return new BufferGeometry().setAttribute('position', new BufferAttribute(new Float32Array(positions), 3));
}
