/** How the control plane fails a request. This file imports nothing, so it is safe inside the workflow sandbox. */
/** Ways in which the control plane fails a request. The body is `{"error":{"code","message","issues"?}}`. */
export const CONTROL_ERRORS = {
  invalid_request: 400,
  unauthenticated: 401,
  forbidden: 403,
  not_found: 404,
  method_not_allowed: 405,
  conflict: 409,
  payload_too_large: 413,
  internal: 500,
  store_unavailable: 503,
} as const;
export type ControlErrorCode = keyof typeof CONTROL_ERRORS;

/** One wrong field of a request: its path, and what is wrong and would be right. */
export interface Issue {
  readonly path: string;
  readonly message: string;
}

/** A failed control-plane request. `message` is safe for the caller. */
export class ControlError extends Error {
  override readonly name = 'ControlError';
  readonly code: ControlErrorCode;
  readonly issues: readonly Issue[];

  constructor(code: ControlErrorCode, message: string, issues: readonly Issue[] = [], options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
    this.issues = issues;
  }
}
