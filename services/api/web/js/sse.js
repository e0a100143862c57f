// Server-sent events out of a fetched body. EventSource cannot send an API key; fetch can, and keys stay out of URLs.

/** @typedef {{ event: string, id: string, data: string }} ServerEvent */

/** Takes text in pieces of any size and gives the events that are whole (WHATWG HTML, section 9.2). */
export class EventParser {
  constructor() {
    this.rest = '';
    this.lastId = '';
    this.event = '';
    /** @type {string[]} */
    this.data = [];
  }

  /**
   * @param {string} text
   * @returns {ServerEvent[]}
   */
  push(text) {
    const found = [];
    const lines = (this.rest + text).split(/\r\n|\n|\r(?!$)/);
    this.rest = lines.pop() ?? '';
    for (const line of lines) {
      const event = this.read(line);
      if (event) found.push(event);
    }
    return found;
  }

  /**
   * @param {string} line
   * @returns {ServerEvent | null}
   */
  read(line) {
    if (line === '') {
      const event = this.data.length ? { event: this.event || 'message', id: this.lastId, data: this.data.join('\n') } : null;
      this.clear();
      return event;
    }
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'event') this.event = value;
    else if (field === 'data') this.data.push(value);
    else if (field === 'id') this.lastId = value;
    return null;
  }

  clear() {
    this.event = '';
    this.data = [];
  }
}

/**
 * Read a response's events one by one.
 * @param {Response} response
 * @param {() => void} onBytes called for whatever comes, comments that keep the stream alive too
 * @returns {AsyncGenerator<ServerEvent>}
 */
export async function* readEvents(response, onBytes) {
  if (!response.body) return;
  const parser = new EventParser();
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      onBytes();
      yield* parser.push(decoder.decode(value, { stream: true }));
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
