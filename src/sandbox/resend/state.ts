/** What the Resend stand-in keeps. */
import type { Content } from './payload';

/** An email that was accepted. */
export interface Email {
  readonly id: string;
  readonly content: Content;
  readonly createdMs: number;
  readonly requestId: string;
  readonly idempotencyKey: string | null;
  /** An injected decline: it bounces, and costs what it costs. */
  readonly bounces: boolean;
  /** When it is to be sent; null: it went at once. */
  scheduledMs: number | null;
  canceled: boolean;
}

/** The team's emails, oldest first. */
export class ResendState {
  readonly emails = new Map<string, Email>();
  readonly now: () => number;

  constructor(now: () => number) {
    this.now = now;
  }
}

/** All that an endpoint may use. */
export interface Call {
  readonly state: ResendState;
  /** Of the path; empty where it names none. */
  readonly id: string;
  readonly query: URLSearchParams;
  readonly json: unknown;
  readonly permissive: boolean;
  readonly requestId: string;
  readonly idempotencyKey: string | null;
  readonly decline: boolean;
}
