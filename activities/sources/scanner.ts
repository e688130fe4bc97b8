/**
 * Finds where records begin and end in a stream of bytes, without making text of them. UTF-8 never uses the bytes of
 * line feed, quote and comma within another character, so bytes are enough.
 */
import { strict as assert } from 'node:assert';

const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const QUOTE = 0x22;
const COMMA = 0x2c;
const SPACE = 0x20;
const TAB = 0x09;

/** One record: its bytes without the line feed, and where the next one may begin. */
export interface Span {
  readonly offset: number;
  readonly length: number;
  /** 1-based. */
  readonly line: number;
  readonly nextOffset: number;
  readonly nextLine: number;
}

/** Quoting after which nobody can tell where records end. */
export interface Malformed {
  readonly line: number;
  readonly reason: string;
}

export type Emit = (span: Span) => void;
export type FileFormat = 'jsonl' | 'csv';

/** Where a scan begins: a record boundary. */
export interface Position {
  readonly offset: number;
  readonly line: number;
}

/** Fed with all chunks in order, then ended. Lines of white space only are skipped. */
export interface Scanner {
  push(chunk: Buffer, emit: Emit): void;
  end(emit: Emit): void;
  /** Where the record that has not ended yet begins. */
  readonly recordStart: number;
  /** The first malformed quoting; JSON lines have none. */
  readonly malformed: Malformed | undefined;
}

export function createScanner(format: FileFormat, from: Position): Scanner {
  return format === 'csv' ? new CsvScanner(from) : new LineScanner(from);
}

/** One record a line. */
class LineScanner implements Scanner {
  readonly malformed = undefined;
  recordStart: number;
  #line: number;
  #position: number;
  #blank = true;

  constructor({ offset, line }: Position) {
    this.recordStart = offset;
    this.#position = offset;
    this.#line = line;
  }

  push(chunk: Buffer, emit: Emit): void {
    for (let from = 0; from < chunk.length;) {
      const found = chunk.indexOf(LINE_FEED, from);
      const to = found === -1 ? chunk.length : found;
      if (this.#blank) this.#blank = isBlank(chunk, from, to);
      if (found === -1) break;
      this.#finish(this.#position + to, this.#position + to + 1, emit);
      from = to + 1;
    }
    this.#position += chunk.length;
  }

  end(emit: Emit): void {
    this.#finish(this.#position, this.#position, emit);
  }

  #finish(end: number, nextOffset: number, emit: Emit): void {
    const { recordStart: offset } = this;
    if (!this.#blank) emit({ offset, length: end - offset, line: this.#line, nextOffset, nextLine: this.#line + 1 });
    this.recordStart = nextOffset;
    this.#line += 1;
    this.#blank = true;
  }
}

const FIELD_START = 0;
const UNQUOTED = 1;
const QUOTED = 2;
/** After a quote within quotes: the field's end, or the first half of `""`. */
const QUOTE_SEEN = 3;
/** A carriage return after a quoted field: only a line feed may follow. */
const RETURN_SEEN = 4;

/** RFC 4180 with LF or CRLF, as csv-parse reads it: a quote counts only at the start of a field. */
class CsvScanner implements Scanner {
  malformed: Malformed | undefined;
  recordStart: number;
  #recordLine: number;
  #line: number;
  #quoteLine = 0;
  #position: number;
  #state = FIELD_START;
  #blank = true;

  constructor({ offset, line }: Position) {
    this.recordStart = offset;
    this.#position = offset;
    this.#line = line;
    this.#recordLine = line;
  }

  push(chunk: Buffer, emit: Emit): void {
    let state = this.#state;
    for (let index = 0; index < chunk.length; index++) {
      const byte = chunk[index];
      if (byte === LINE_FEED) {
        this.#line += 1;
        if (state === QUOTED) continue;
        this.#finish(this.#position + index, this.#position + index + 1, emit);
        state = FIELD_START;
      } else if (byte === QUOTE) {
        state = this.#quote(state);
      } else if (byte === COMMA) {
        this.#blank = false;
        if (state === RETURN_SEEN) this.#complain(this.#line, 'a quoted field goes on after its closing quote');
        if (state !== QUOTED) state = FIELD_START;
      } else if (state === QUOTE_SEEN && byte === CARRIAGE_RETURN) {
        state = RETURN_SEEN;
      } else if (state !== QUOTED) {
        if (this.#blank) this.#blank = byte === SPACE || byte === TAB || byte === CARRIAGE_RETURN;
        if (state >= QUOTE_SEEN) this.#complain(this.#line, 'a quoted field goes on after its closing quote');
        state = UNQUOTED;
      }
    }
    this.#state = state;
    this.#position += chunk.length;
  }

  end(emit: Emit): void {
    if (this.#state === QUOTED) this.#complain(this.#quoteLine, 'a quote is opened and never closed');
    if (this.recordStart < this.#position) this.#finish(this.#position, this.#position, emit);
  }

  #quote(state: number): number {
    this.#blank = false;
    if (state === QUOTED) return QUOTE_SEEN;
    if (state === QUOTE_SEEN) return QUOTED;
    if (state === UNQUOTED || state === RETURN_SEEN) {
      this.#complain(this.#line, 'a quote stands within an unquoted field; quote the field and double the quote');
      return UNQUOTED;
    }
    this.#quoteLine = this.#line;
    return QUOTED;
  }

  #complain(line: number, reason: string): void {
    this.malformed ??= { line, reason };
  }

  #finish(end: number, nextOffset: number, emit: Emit): void {
    assert(end >= this.recordStart);
    const { recordStart: offset } = this;
    if (!this.#blank) {
      emit({ offset, length: end - offset, line: this.#recordLine, nextOffset, nextLine: this.#line });
    }
    this.recordStart = nextOffset;
    this.#recordLine = this.#line;
    this.#blank = true;
  }
}

function isBlank(chunk: Buffer, from: number, to: number): boolean {
  for (let index = from; index < to; index++) {
    const byte = chunk[index];
    if (byte !== SPACE && byte !== TAB && byte !== CARRIAGE_RETURN) return false;
  }
  return true;
}
