// SHA-256 (FIPS 180-4). Browsers give theirs to secure pages alone; a phone on http://192.168.… gets this one.

const BLOCK = 64;
const ROUND = Uint32Array.from(firstPrimes(64), (prime) => fractionBits(Math.cbrt(prime)));
const START = Uint32Array.from(firstPrimes(8), (prime) => fractionBits(Math.sqrt(prime)));

/**
 * The digest of some bytes.
 * @param {ArrayBuffer} data
 * @returns {Promise<Uint8Array>} 32 bytes
 */
export async function sha256(data) {
  const subtle = globalThis.crypto?.subtle;
  return subtle ? new Uint8Array(await subtle.digest('SHA-256', data)) : sha256InScript(data);
}

/**
 * The same, without the browser's help.
 * @param {ArrayBuffer} data
 * @returns {Uint8Array} 32 bytes
 */
export function sha256InScript(data) {
  const bytes = new Uint8Array(data);
  const whole = Math.floor(bytes.length / BLOCK) * BLOCK;
  const state = START.slice();
  const words = new Uint32Array(BLOCK);
  mix(state, new DataView(data, 0, whole), words);
  mix(state, padding(bytes.subarray(whole), bytes.length), words);
  const digest = new DataView(new ArrayBuffer(32));
  state.forEach((word, i) => digest.setUint32(4 * i, word));
  return new Uint8Array(digest.buffer);
}

/**
 * The header that promises these bytes (RFC 9530).
 * @param {Uint8Array} digest
 */
export function contentDigest(digest) {
  return `sha-256=:${btoa(String.fromCharCode(...digest))}:`;
}

/** @param {Uint8Array} digest */
export function toHex(digest) {
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/**
 * @param {Uint8Array} tail what no longer fills a block
 * @param {number} length bytes in all
 */
function padding(tail, length) {
  const padded = new Uint8Array(Math.ceil((tail.length + 9) / BLOCK) * BLOCK);
  padded.set(tail);
  padded[tail.length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setUint32(padded.length - 8, Math.floor(length / 2 ** 29));
  view.setUint32(padded.length - 4, (length << 3) >>> 0);
  return view;
}

/**
 * @param {Uint32Array} state
 * @param {DataView} blocks
 * @param {Uint32Array} w
 */
function mix(state, blocks, w) {
  for (let at = 0; at < blocks.byteLength; at += BLOCK) {
    for (let i = 0; i < 16; i += 1) w[i] = blocks.getUint32(at + 4 * i);
    for (let i = 16; i < 64; i += 1) {
      const a = w[i - 15];
      const b = w[i - 2];
      w[i] = w[i - 16] + w[i - 7] + (turn(a, 7) ^ turn(a, 18) ^ (a >>> 3)) + (turn(b, 17) ^ turn(b, 19) ^ (b >>> 10));
    }
    let [a, b, c, d, e, f, g, h] = state;
    for (let i = 0; i < 64; i += 1) {
      const one = (h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + ROUND[i] + w[i]) | 0;
      const two = ((turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      h = g;
      g = f;
      f = e;
      e = (d + one) | 0;
      d = c;
      c = b;
      b = a;
      a = (one + two) | 0;
    }
    [a, b, c, d, e, f, g, h].forEach((word, i) => {
      state[i] += word;
    });
  }
}

/**
 * @param {number} word
 * @param {number} bits
 */
function turn(word, bits) {
  return (word >>> bits) | (word << (32 - bits));
}

/** @param {number} count */
function firstPrimes(count) {
  /** @type {number[]} */
  const primes = [];
  for (let n = 2; primes.length < count; n += 1) if (primes.every((prime) => n % prime)) primes.push(n);
  return primes;
}

/** @param {number} root */
function fractionBits(root) {
  return Math.floor((root - Math.floor(root)) * 2 ** 32);
}
