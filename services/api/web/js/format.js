// Numbers, times and the service's own words, as people read them.

/** @param {number} bytes */
export function formatBytes(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  const units = ['kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = -1;
  do {
    value /= 1000;
    unit += 1;
  } while (value >= 999.5 && unit < units.length - 1);
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

/**
 * A time that is still to come, rounded as an estimate deserves.
 * @param {number} seconds
 */
export function formatTimeLeft(seconds) {
  if (seconds < 8) return 'a few seconds left';
  if (seconds < 55) return `about ${Math.ceil(seconds / 5) * 5} s left`;
  if (seconds < 90) return 'about a minute left';
  if (seconds < 3300) return `about ${Math.round(seconds / 60)} min left`;
  return `about ${(seconds / 3600).toFixed(1)} h left`;
}

/** @param {number} seconds */
export function formatSeconds(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

/** @param {number} count */
export function formatCount(count) {
  if (count < 10000) return String(count).replace(/\B(?=(\d{3})+$)/g, '\u202f');
  if (count < 999500) return `${Math.round(count / 1000)} thousand`;
  return `${(count / 1e6).toFixed(1)} million`;
}

/** @param {string} iso */
export function formatDate(iso) {
  return new Date(iso).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' });
}

/**
 * @param {number} count
 * @param {string} one
 * @param {string} [many]
 */
export function plural(count, one, many = `${one}s`) {
  return `${count} ${count === 1 ? one : many}`;
}

/** The stages of a job in their order, with what they do. */
export const STAGES = /** @type {const} */ ([
  ['load', 'Read the photos'],
  ['encode', 'Encode each photo'],
  ['pair', 'Choose pairs'],
  ['decode', 'Compare pairs'],
  ['match', 'Match points'],
  ['align', 'Place the cameras'],
  ['fuse', 'Fuse the cloud'],
  ['export', 'Write the files'],
]);

/** @type {Record<string, string>} */
export const STATUS_WORDS = {
  queued: 'Waiting',
  running: 'Running',
  canceling: 'Stopping',
  succeeded: 'Done',
  failed: 'Failed',
  canceled: 'Canceled',
  expired: 'Expired',
};

/** @type {Record<string, string>} */
export const FILE_WORDS = {
  'scene.ply': 'Point cloud',
  'poses.json': 'Cameras and pairs',
  'preview.png': 'Picture',
  'scene.glb': 'Cloud and cameras, glTF',
  'mesh.ply': 'Surface',
  'colmap.zip': 'COLMAP, binary',
  'colmap_text.zip': 'COLMAP, text',
  'splatting.zip': 'Gaussian splatting set',
  'transforms.json': 'nerfstudio, instant-ngp',
  'gaussianobject.zip': 'GaussianObject set',
  'instantsplat.zip': 'InstantSplat set',
  'trajectory.txt': 'Trajectory, TUM',
  'depth_png.zip': 'Depth maps, PNG',
  'depth.npz': 'Depth and confidence, NumPy',
  'images.zip': 'Photos, upright',
};

/**
 * What to call a job: its own name, else the day it was made.
 * @param {{ labels: Record<string, string>, created_at: string }} job
 */
export function jobTitle(job) {
  return job.labels.name || formatDate(job.created_at);
}
