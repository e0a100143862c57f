// The page: which view the address asks for, the API key, and the dialogs.

import { byId } from './dom.js';
import { Home } from './home.js';
import { JobView } from './job_view.js';
import { apiKey, keyWanted, setApiKey } from './service.js';

const JOB = /^#\/jobs\/([\w-]+)$/;

const home = new Home();
/** @type {JobView | null} */
let job = null;

/** Show what the address asks for. */
function route() {
  const [, jobId] = JOB.exec(location.hash) ?? [];
  job?.close();
  job = null;
  home.section.hidden = jobId !== undefined;
  byId('job').hidden = jobId === undefined;
  if (jobId) {
    home.rest();
    job = new JobView(byId('job'), jobId);
  } else {
    document.title = 'Photos to 3D';
    home.open();
  }
}

/** @param {string} why */
function askForKey(why) {
  const dialog = byId('key-dialog');
  if (dialog.open) return;
  byId('key-text').textContent = why;
  byId('key-input').value = apiKey();
  dialog.showModal();
  byId('key-input').select();
}

/** Begin. */
function start() {
  addEventListener('hashchange', () => {
    route();
    byId('main').focus({ preventScroll: true });
    scrollTo(0, 0);
  });
  keyWanted.addEventListener('wanted', (event) => {
    const refused = apiKey() ? 'This key is not accepted' : 'This service wants an API key';
    const detail = /** @type {CustomEvent<string>} */ (event).detail;
    askForKey(`${refused} (${detail}). It is kept for this tab alone, and forgotten when it is closed.`);
  });
  byId('key-open').addEventListener('click', () => askForKey('Kept for this tab alone, and forgotten when it is closed.'));
  byId('key-cancel').addEventListener('click', () => byId('key-dialog').close());
  byId('key-form').addEventListener('submit', () => {
    setApiKey(byId('key-input').value.trim());
    route();
  });
  byId('help-open').addEventListener('click', () => byId('help').showModal());
  document.addEventListener('keydown', (event) => {
    const typing = event.target instanceof HTMLInputElement && event.target.type !== 'range' && event.target.type !== 'radio';
    if (typing || event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]')) return;
    if (event.key === '?') byId('help').showModal();
    else job?.press(event);
  });
  route();
}

start();
