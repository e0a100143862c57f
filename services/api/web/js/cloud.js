// The points on the screen: round, coloured by photo or by confidence, and hidden below a threshold, all in the shader.

import { BufferAttribute, BufferGeometry, Group, Points, ShaderMaterial } from '../vendor/three.min.js';

const VERTEX = `
  attribute float confidence;
  attribute float component;
  attribute vec4 rgb;
  uniform float size;      // pixels at distance \`far\`
  uniform float far;
  uniform float threshold;
  uniform float shown;     // the part whose points are shown
  uniform vec2 range;      // confidences at the ends of the scale
  uniform float byConfidence;
  varying vec3 tint;

  vec3 scale(float t) {    // the stops of the legend in viewer.css
    vec3 a = mix(vec3(0.23, 0.12, 0.39), vec3(0.16, 0.39, 0.55), smoothstep(0.0, 0.33, t));
    vec3 b = mix(a, vec3(0.18, 0.65, 0.52), smoothstep(0.33, 0.66, t));
    return mix(b, vec3(0.98, 0.88, 0.32), smoothstep(0.66, 1.0, t));
  }

  void main() {
    vec4 seen = modelViewMatrix * vec4(position, 1.0);
    bool hidden = confidence < threshold || abs(component - shown) > 0.5;
    gl_Position = hidden ? vec4(2.0, 2.0, 2.0, 1.0) : projectionMatrix * seen;
    gl_PointSize = clamp(size * far / max(-seen.z, 1e-6), size * 0.6, size * 2.5);
    float t = clamp((confidence - range.x) / max(range.y - range.x, 1e-9), 0.0, 1.0);
    tint = mix(rgb.rgb, scale(t), byConfidence);
  }`;

const FRAGMENT = `
  varying vec3 tint;
  void main() {
    vec2 off = gl_PointCoord - 0.5;
    if (dot(off, off) > 0.25) discard;
    gl_FragColor = vec4(tint, 1.0);  // the photos' own values: sRGB in, sRGB out
  }`;

/** A cloud that grows chunk by chunk; each chunk goes to the graphics card once. */
export class Cloud {
  constructor() {
    this.group = new Group();
    this.count = 0;
    this.material = new ShaderMaterial({
      vertexShader: VERTEX,
      fragmentShader: FRAGMENT,
      uniforms: {
        size: { value: 2 },
        far: { value: 1 },
        threshold: { value: -1e30 },
        shown: { value: 0 },
        range: { value: [0, 1] },
        byConfidence: { value: 0 },
      },
    });
  }

  get uniforms() {
    return this.material.uniforms;
  }

  /** @param {import('./ply.js').PlyChunk} chunk */
  add(chunk) {
    const geometry = new BufferGeometry();
    geometry.setAttribute('position', new BufferAttribute(chunk.positions, 3));
    geometry.setAttribute('rgb', new BufferAttribute(chunk.colors, 4, true));
    geometry.setAttribute('confidence', new BufferAttribute(chunk.confidence, 1));
    geometry.setAttribute('component', new BufferAttribute(chunk.component ?? new Float32Array(chunk.count), 1));
    const points = new Points(geometry, this.material);
    points.frustumCulled = false; // its bounds would cost a pass over the points, and it is nearly always in sight
    this.group.add(points);
    this.count += chunk.count;
  }

  /**
   * Draw a share of every chunk.
   * @param {number} share up to 1
   * @returns {number} points that are drawn
   */
  showShare(share) {
    for (const { geometry } of this.group.children) geometry.setDrawRange(0, Math.ceil(share * geometry.attributes.position.count));
    return share * this.count;
  }

  dispose() {
    for (const points of this.group.children) points.geometry.dispose();
    this.material.dispose();
  }
}
