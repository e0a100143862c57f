// What the viewer must know of a cloud: where it is, how large, and how its confidences spread.

/**
 * The value below which a share of sorted numbers lies.
 * @param {ArrayLike<number>} sorted
 * @param {number} share 0 to 1
 */
export function quantile(sorted, share) {
  if (!sorted.length) return 0;
  const at = share * (sorted.length - 1);
  const low = Math.floor(at);
  const high = Math.min(low + 1, sorted.length - 1);
  return sorted[low] + (sorted[high] - sorted[low]) * (at - low);
}

/** A sample of a cloud, grown chunk by chunk and never larger than some tens of thousands of points. */
export class CloudSample {
  /** @param {number} [perChunk] */
  constructor(perChunk = 1500) {
    this.perChunk = perChunk;
    /** @type {{ position: number[], confidence: number, component: number }[]} */
    this.points = [];
  }

  /** @param {import('./ply.js').PlyChunk} chunk */
  add(chunk) {
    const step = Math.max(1, Math.floor(chunk.count / this.perChunk));
    for (let i = 0; i < chunk.count; i += step) {
      const position = [chunk.positions[3 * i], chunk.positions[3 * i + 1], chunk.positions[3 * i + 2]];
      this.points.push({ position, confidence: chunk.confidence[i], component: chunk.component ? chunk.component[i] : 0 });
    }
  }

  /** The parts there are, in order. */
  components() {
    return [...new Set(this.points.map((point) => point.component))].sort((a, b) => a - b);
  }

  /** Sorted confidences of the sample. */
  confidences() {
    return Float32Array.from(this.points, (point) => point.confidence).sort();
  }

  /**
   * The middle of a part, and the radius of its bulk: stray points far away count for nothing.
   * @param {number} component
   * @returns {{ centre: number[], radius: number }}
   */
  bulk(component) {
    const positions = this.points.filter((point) => point.component === component).map((point) => point.position);
    if (!positions.length) return { centre: [0, 0, 0], radius: 1 };
    const centre = [0, 1, 2].map((axis) => quantile(positions.map((p) => p[axis]).sort((a, b) => a - b), 0.5));
    const distances = positions.map((p) => Math.hypot(p[0] - centre[0], p[1] - centre[1], p[2] - centre[2]));
    return { centre, radius: quantile(distances.sort((a, b) => a - b), 0.9) || 1 };
  }
}
