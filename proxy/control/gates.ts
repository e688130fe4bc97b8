/** What a request to the control plane must pass before it is read. */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { MiddlewareHandler } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { ControlError } from '../contract';
import { repeatedName } from '../json';
import type { ProxyOptions } from '../options';
import { invalidRequest, issuesOf } from './issues';
import { noBody } from './schemas';
import type { Role } from './terms';

const BODY_BYTES_MAX = 256 * 1024;

export type Env = { Variables: { role: Role } };

/** Who calls: sets the role. Throws `unauthenticated`. */
export function authenticated({ apiKey, workerKey }: ProxyOptions): MiddlewareHandler<Env> {
  const keys: readonly (readonly [Role, Buffer])[] = [
    ['admin', digest(apiKey)],
    ...(workerKey === undefined ? [] : [['worker', digest(workerKey)] as const]),
  ];
  return async (c, next) => {
    c.header('cache-control', 'no-store');
    const token = /^Bearer +(\S+) *$/i.exec(c.req.header('authorization') ?? '')?.[1];
    const given = digest(token ?? '');
    const role = token === undefined ? undefined : keys.find(([, key]) => timingSafeEqual(key, given))?.[0];
    if (role === undefined) {
      const how = 'Authorization: Bearer KEYBRAKE_API_KEY or KEYBRAKE_WORKER_KEY';
      throw new ControlError('unauthenticated', `The control plane needs a key it knows, as ${how}.`);
    }
    c.set('role', role);
    await next();
  };
}

/** Digests are of one length, as the comparison in constant time needs them. */
function digest(key: string): Buffer {
  return createHash('sha256').update(key).digest();
}

export const adminOnly: MiddlewareHandler<Env> = async (c, next) => {
  if (c.var.role !== 'admin') throw new ControlError('forbidden', 'This call needs KEYBRAKE_API_KEY.');
  await next();
};

export const limitedBody = bodyLimit({
  maxSize: BODY_BYTES_MAX,
  onError: () => {
    throw new ControlError('payload_too_large', `A body has at most ${BODY_BYTES_MAX} bytes.`);
  },
});

const decoder = new TextDecoder('utf-8', { fatal: true });

/** Else two job ids in another encoding could become one and the same. */
function utf8(body: ArrayBuffer): string {
  try {
    return decoder.decode(body);
  } catch {
    throw new ControlError('invalid_request', 'The body must be JSON in UTF-8, with Content-Type: application/json.');
  }
}

/** JSON.parse takes the last of two values with one name: which of two caps was meant is nobody's to guess. */
export const unambiguousBody: MiddlewareHandler<Env> = async (c, next) => {
  if (c.req.method === 'POST' || c.req.method === 'PATCH') {
    const name = repeatedName(utf8(await c.req.arrayBuffer()));
    if (name !== undefined) throw invalidRequest([{ path: name, message: 'given twice' }]);
  }
  await next();
};

/** For calls that take no fields: who gives one would think that it counts. */
export const noFields: MiddlewareHandler<Env> = async (c, next) => {
  const text = utf8(await c.req.arrayBuffer()).trim();
  const read = noBody.safeParse(text === '' ? {} : parsed(text));
  if (!read.success) throw invalidRequest(issuesOf(read.error));
  await next();
};

/** Undefined: it is no JSON. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
