// The start: ways to add photos, the draft that they go into, and the jobs there are.

import { byId } from './dom.js';
import { Draft } from './draft_view.js';
import { formatBytes } from './format.js';
import { JobList } from './jobs_list.js';
import { NoAnswerError, ProblemError, call, wordsOf } from './service.js';

/** The first view. */
export class Home {
  constructor() {
    this.section = byId('home');
    this.jobs = new JobList();
    this.draft = new Draft((filling) => {
      byId('start').hidden = filling;
      byId('draft').hidden = !filling;
    });
    for (const id of ['choose', 'draft-more']) byId(id).addEventListener('click', () => byId('file-input').click());
    for (const id of ['take', 'draft-take']) byId(id).addEventListener('click', () => byId('camera-input').click());
    for (const id of ['file-input', 'camera-input']) {
      const input = byId(id);
      input.addEventListener('change', () => {
        this.take([...input.files]);
        input.value = ''; // the same file may be chosen again
      });
    }
    this.listenForDrops();
    sow(byId('drawing-cloud'));
  }

  /** Show it, with the newest the service knows. */
  async open() {
    try {
      const info = await call('GET', 'v1/info');
      this.draft.setInfo(info);
      const { max_photos: photos, max_photo_bytes: bytes } = info.limits;
      byId('limits').textContent = `up to ${photos} photos of ${formatBytes(bytes)}`;
      await Promise.all([this.draft.resume(), this.jobs.load()]);
    } catch (error) {
      if (!(error instanceof ProblemError && error.status === 401)) this.complain(error);
    }
  }

  /** Nothing of it is in sight; uploads go on. */
  rest() {
    this.jobs.rest();
  }

  /** @param {File[]} files */
  async take(files) {
    const photos = files.filter((file) => file.type.startsWith('image/') || /\.(jpe?g|png|webp|hei[cf]|tiff?)$/i.test(file.name));
    if (!photos.length) return;
    if (location.hash.startsWith('#/jobs/')) location.hash = '#/';
    await this.draft.add(photos).catch((error) => this.complain(error));
  }

  /** @param {unknown} error */
  complain(error) {
    if (error instanceof NoAnswerError) setTimeout(() => this.section.hidden || this.open(), 5000);
    byId('limits').textContent = wordsOf(error);
  }

  listenForDrops() {
    const shade = byId('dropping');
    let depth = 0;
    /** @param {DragEvent} event */
    const hasFiles = (event) => event.dataTransfer?.types.includes('Files') ?? false;
    addEventListener('dragenter', (event) => {
      if (!hasFiles(event)) return;
      depth += 1;
      shade.classList.add('on');
    });
    addEventListener('dragleave', (event) => {
      if (!hasFiles(event)) return;
      depth -= 1;
      shade.classList.toggle('on', depth > 0);
    });
    addEventListener('dragover', (event) => hasFiles(event) && event.preventDefault());
    addEventListener('drop', (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      depth = 0;
      shade.classList.remove('on');
      this.take([...(event.dataTransfer?.files ?? [])]);
    });
  }
}

/**
 * The points of the drawing: a box seen from above, always the same.
 * @param {SVGElement} group
 */
function sow(group) {
  for (let i = 0; i < 150; i += 1) {
    const angle = i * 2.399963; // the golden angle spreads them evenly
    const reach = Math.sqrt((i + 0.5) / 150);
    const dot = document.createElementNS('http://www.w3.org/2000/svg', 'circle');
    dot.setAttribute('cx', String(126 + 40 * reach * Math.cos(angle)));
    dot.setAttribute('cy', String(42 + 30 * reach * Math.sin(angle)));
    dot.setAttribute('r', String(0.7 + 0.7 * (1 - reach)));
    dot.setAttribute('opacity', String(0.9 - 0.55 * reach));
    group.append(dot);
  }
}
