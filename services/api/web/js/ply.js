// Reading the service's clouds (binary little-endian PLY) piece by piece, with no more points than asked for.

/**
 * @typedef {object} PlyHeader
 * @property {number} bytes length of the header
 * @property {number} count points in the file
 * @property {number} stride bytes of one point
 * @property {Record<string, { offset: number, type: string }>} properties
 *
 * @typedef {object} PlyChunk
 * @property {number} count
 * @property {Float32Array} positions x y z
 * @property {Uint8Array} colors red green blue 255
 * @property {Float32Array} confidence
 * @property {Float32Array | null} component the part a point belongs to; null: there is one part alone
 */

/** @type {Record<string, number>} */
const SIZES = { char: 1, uchar: 1, short: 2, ushort: 2, int: 4, uint: 4, float: 4, double: 8, int8: 1, uint8: 1, int32: 4, float32: 4 };
const GOLDEN = 0.6180339887498949; // steps by it spread evenly over [0, 1) (Weyl's sequence)
const LONGEST_HEADER = 65536;
const NEEDED = ['x', 'y', 'z'];

/**
 * Read the header, as soon as it is all there.
 * @param {Uint8Array} bytes
 * @returns {PlyHeader | null} null: more bytes are needed
 */
export function readHeader(bytes) {
  const text = new TextDecoder('latin1').decode(bytes.subarray(0, LONGEST_HEADER));
  if (text.length >= 4 && !text.startsWith('ply\n')) throw new Error('the file does not begin like a PLY file');
  const end = text.indexOf('end_header\n');
  if (end < 0) {
    if (text.length >= LONGEST_HEADER) throw new Error('the header of the PLY file does not end');
    return null;
  }
  const lines = text.slice(0, end).split('\n');
  if (!lines.includes('format binary_little_endian 1.0')) throw new Error('the PLY file is not binary little-endian');
  return { bytes: end + 'end_header\n'.length, ...readVertex(lines) };
}

/** @param {string[]} lines */
function readVertex(lines) {
  const first = lines.findIndex((line) => line.startsWith('element '));
  const [, name, count] = (lines[first] ?? '').split(' ');
  if (name !== 'vertex') throw new Error('the PLY file does not begin with its points');
  /** @type {PlyHeader['properties']} */
  const properties = {};
  let stride = 0;
  for (const line of lines.slice(first + 1)) {
    const [word, type, property] = line.split(' ');
    if (word !== 'property') break;
    if (!(type in SIZES)) throw new Error(`the PLY file has points with a property of type ${type}`);
    properties[property] = { offset: stride, type };
    stride += SIZES[type];
  }
  if (NEEDED.some((axis) => properties[axis]?.type.startsWith('float') !== true)) throw new Error('the PLY file has no x, y, z');
  return { count: Number(count), stride, properties };
}

/** Points out of bytes that come in pieces. Of a file with more points than `limit` an even share is kept. */
export class PlyReader {
  /**
   * @param {number} limit
   * @param {boolean} [shuffled] whether the points of a chunk come in no order, so that any part of it is an even share
   */
  constructor(limit, shuffled = false) {
    this.limit = limit;
    this.shuffled = shuffled;
    /** @type {PlyHeader | null} */
    this.header = null;
    /** @type {Uint8Array} */
    this.rest = new Uint8Array(0);
    this.seen = 0;
  }

  /**
   * @param {Uint8Array} bytes
   * @returns {PlyChunk | null} the points that are whole now
   */
  push(bytes) {
    let data = join(this.rest, bytes);
    if (!this.header) {
      this.header = readHeader(data);
      if (!this.header) {
        this.rest = data;
        return null;
      }
      data = data.subarray(this.header.bytes);
    }
    const { stride, count } = this.header;
    const whole = Math.min(Math.floor(data.length / stride), count - this.seen);
    this.rest = data.slice(whole * stride);
    const chunk = whole ? this.decode(data, whole, this.header) : null;
    this.seen += whole;
    return chunk?.count ? chunk : null;
  }

  /** Say whether every point has come. */
  get done() {
    return this.header !== null && this.seen === this.header.count;
  }

  /**
   * @param {Uint8Array} data
   * @param {number} whole
   * @param {PlyHeader} header
   * @returns {PlyChunk}
   */
  decode(data, whole, header) {
    const kept = this.choose(whole, header.count);
    const view = new DataView(data.buffer, data.byteOffset, whole * header.stride);
    const chunk = {
      count: kept.length,
      positions: new Float32Array(3 * kept.length),
      colors: new Uint8Array(4 * kept.length).fill(255),
      confidence: new Float32Array(kept.length),
      component: 'component' in header.properties ? new Float32Array(kept.length) : null,
    };
    copy(view, header, kept, ['x', 'y', 'z'], chunk.positions, 3);
    copy(view, header, kept, ['red', 'green', 'blue'], chunk.colors, 4);
    copy(view, header, kept, ['confidence'], chunk.confidence, 1);
    if (chunk.component) copy(view, header, kept, ['component'], chunk.component, 1);
    return chunk;
  }

  /**
   * @param {number} whole
   * @param {number} count
   */
  choose(whole, count) {
    const share = Math.min(1, this.limit / count);
    const kept = [];
    for (let i = 0; i < whole; i += 1) if (share === 1 || (((this.seen + i) * GOLDEN) % 1) < share) kept.push(i);
    return this.shuffled ? shuffle(kept) : kept;
  }
}

/**
 * Put numbers in an order that looks like none, and is always the same.
 * @param {number[]} numbers
 */
function shuffle(numbers) {
  let state = 1;
  for (let i = numbers.length - 1; i > 0; i -= 1) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0; // Numerical Recipes' generator
    const j = Math.floor((state / 2 ** 32) * (i + 1));
    [numbers[i], numbers[j]] = [numbers[j], numbers[i]];
  }
  return numbers;
}

/**
 * @param {DataView} view
 * @param {PlyHeader} header
 * @param {number[]} kept
 * @param {string[]} names
 * @param {Float32Array | Uint8Array} target
 * @param {number} step
 */
function copy(view, header, kept, names, target, step) {
  names.forEach((name, axis) => {
    const property = header.properties[name];
    if (!property) return;
    const read = reader(view, property.type);
    for (let i = 0; i < kept.length; i += 1) target[step * i + axis] = read(kept[i] * header.stride + property.offset);
  });
}

/**
 * @param {DataView} view
 * @param {string} type
 * @returns {(at: number) => number}
 */
function reader(view, type) {
  if (type === 'float' || type === 'float32') return (at) => view.getFloat32(at, true);
  if (type === 'uchar' || type === 'uint8') return (at) => view.getUint8(at);
  if (type === 'int' || type === 'int32') return (at) => view.getInt32(at, true);
  if (type === 'double') return (at) => view.getFloat64(at, true);
  throw new Error(`the PLY file has a property of type ${type}`);
}

/**
 * @param {Uint8Array} first
 * @param {Uint8Array} second
 */
function join(first, second) {
  if (!first.length) return second;
  const both = new Uint8Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}
