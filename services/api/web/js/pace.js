// How much is drawn, and how often: all of it where the machine is quick, a part while the view moves where it is not. Points come
// shuffled, so the first part of a chunk is an even share of it.

const SMALL = 300_000; // points: a scene that any machine draws whole
const LEAST = 150_000;
const MOVING_MS = 40; // a frame may take so long while the view moves
const STILL_MS = 400; // and so long once it stands
const SETTLED_MS = 200;
const REFRESH_MS = 17; // a frame that is ready in time still waits for the screen

/** Keeps the page quick, whatever draws it. */
export class Pace {
  /** @param {() => void} draw asks for a frame */
  constructor(draw) {
    this.draw = draw;
    this.perPoint = 0; // milliseconds
    this.last = { began: 0, took: 0 };
    this.settling = 0;
    this.leisure = 0;
  }

  /**
   * The share of so many points to draw now.
   * @param {number} count
   * @param {boolean} moving
   * @returns {number} up to 1
   */
  share(count, moving) {
    if (count <= SMALL || !this.perPoint) return 1;
    const affordable = (moving ? MOVING_MS : STILL_MS) / this.perPoint;
    return Math.min(1, Math.max(LEAST, affordable) / count);
  }

  /**
   * A frame was begun; look how long it takes, and draw a better one when the view has settled.
   * @param {number} points drawn
   * @param {boolean} moving
   */
  note(points, moving) {
    const began = performance.now();
    clearTimeout(this.settling);
    if (moving) this.settling = Number(setTimeout(this.draw, SETTLED_MS));
    requestAnimationFrame(() => {
      const took = Math.max(0.1, performance.now() - began - REFRESH_MS);
      this.last = { began, took };
      if (points > LEAST / 2) this.perPoint = this.perPoint ? 0.6 * this.perPoint + (0.4 * took) / points : took / points;
    });
  }

  /** Draw when there is time: for news that can wait, like more points. */
  drawAtLeisure() {
    if (this.leisure) return;
    const next = this.last.began + Math.max(120, 5 * this.last.took);
    this.leisure = Number(
      setTimeout(() => {
        this.leisure = 0;
        this.draw();
      }, Math.max(0, next - performance.now())),
    );
  }

  stop() {
    clearTimeout(this.settling);
    clearTimeout(this.leisure);
  }
}
