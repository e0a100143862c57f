// Cameras of poses.json in the viewer's terms. Frames: OpenCV (x right, y down, z forward) in the file, OpenGL (x right, y up, z
// backward) on the screen. Matrices are 16 numbers, column by column, as WebGL wants them.

/**
 * @typedef {object} Camera
 * @property {string} name
 * @property {number} component
 * @property {number} width pixels of the upright photo
 * @property {number} height
 * @property {number[][]} K 3 x 3; pixel centres at integers
 * @property {number[][]} pose 4 x 4, camera to world, OpenCV axes
 *
 * @typedef {{ left: number, right: number, top: number, bottom: number }} Window  where a view's edges meet the plane at depth 1
 */

/**
 * The photos that have a camera.
 * @param {any} document poses.json
 * @returns {Camera[]}
 */
export function readCameras(document) {
  if (document?.schema_version !== 1) throw new Error(`poses.json has schema_version ${document?.schema_version}, not 1`);
  return document.images
    .filter((/** @type {any} */ image) => image.registered && image.K && image.cam2world)
    .map((/** @type {any} */ image) => ({
      name: image.name,
      component: image.component,
      width: image.width,
      height: image.height,
      K: image.K,
      pose: image.cam2world,
    }));
}

/**
 * The window of a photo: its outer pixel edges lie half a pixel beyond the outer pixels' centres.
 * @param {Camera} camera
 * @returns {Window}
 */
export function photoWindow({ K, width, height }) {
  const [[fx, , cx], [, fy, cy]] = K;
  return { left: (-0.5 - cx) / fx, right: (width - 0.5 - cx) / fx, top: (cy + 0.5) / fy, bottom: (cy + 0.5 - height) / fy };
}

/**
 * The smallest window of an aspect around another: nothing of the photo is cut, nothing is stretched.
 * @param {Window} inner
 * @param {number} aspect width over height of the screen
 * @returns {Window}
 */
export function widen(inner, aspect) {
  const width = inner.right - inner.left;
  const height = inner.top - inner.bottom;
  const x = Math.max(0, height * aspect - width) / 2;
  const y = Math.max(0, width / aspect - height) / 2;
  return { left: inner.left - x, right: inner.right + x, top: inner.top + y, bottom: inner.bottom - y };
}

/**
 * The window of a camera with a field of view, seen straight on.
 * @param {number} degrees vertical
 * @param {number} aspect
 * @returns {Window}
 */
export function straightWindow(degrees, aspect) {
  const top = Math.tan((degrees * Math.PI) / 360);
  return { left: -top * aspect, right: top * aspect, top, bottom: -top };
}

/**
 * @param {Window} from
 * @param {Window} to
 * @param {number} t 0 to 1
 * @returns {Window}
 */
export function between(from, to, t) {
  const mix = (/** @type {keyof Window} */ edge) => from[edge] + (to[edge] - from[edge]) * t;
  return { left: mix('left'), right: mix('right'), top: mix('top'), bottom: mix('bottom') };
}

/**
 * A camera's pose with OpenGL's axes, in the world of poses.json.
 * @param {number[][]} pose
 * @returns {number[]} 16
 */
export function screenPose(pose) {
  const columns = [0, 1, 2, 3].map((column) => pose.map((row) => (column === 1 || column === 2 ? -row[column] : row[column])));
  return columns.flat();
}

/**
 * Where up is: away from the ground as the photographers held their cameras, on average.
 * @param {Camera[]} cameras
 * @returns {number[]} unit vector in the world of poses.json
 */
export function worldUp(cameras) {
  const sum = [0, 0, 0];
  for (const { pose } of cameras) for (let i = 0; i < 3; i += 1) sum[i] -= pose[i][1];
  const length = Math.hypot(...sum);
  return length > 1e-6 ? sum.map((value) => value / length) : [0, -1, 0];
}

/**
 * How large to draw a camera: a part of the usual distance between neighbours, within bounds that the scene sets.
 * @param {Camera[]} cameras
 * @param {number} radius of the scene
 */
export function cameraSize(cameras, radius) {
  const nearest = cameras
    .map(({ pose }, i) => Math.min(...cameras.filter((_, j) => j !== i).map((other) => distance(pose, other.pose))))
    .filter((each) => Number.isFinite(each) && each > 0)
    .sort((a, b) => a - b);
  const usual = nearest.length ? nearest[nearest.length >> 1] : radius;
  return Math.min(Math.max(usual, radius * 0.03), radius * 0.16);
}

/**
 * @param {number[][]} a
 * @param {number[][]} b
 */
function distance(a, b) {
  return Math.hypot(a[0][3] - b[0][3], a[1][3] - b[1][3], a[2][3] - b[2][3]);
}
