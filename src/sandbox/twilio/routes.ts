/** The routes of the Twilio stand-in. */
import { matchPath } from '../path-match';
import { createCall, fetchCall, updateCall } from './calls';
import { lookUp } from './lookups';
import { listMessages } from './message-list';
import { createMessage, fetchMessage, updateMessage } from './messages';
import type { Call } from './state';
import { checkVerification, createVerification, fetchVerification, updateVerification } from './verify';

/** An endpoint, the status of its success, and the element that an answer in XML is. */
export interface Route {
  readonly run: (call: Call) => object;
  readonly priced: boolean;
  readonly status: 200 | 201;
  readonly element: string;
}

/** A route with the names that its path carries. */
export interface Target {
  readonly route: Route;
  readonly path: Readonly<Record<string, string>>;
}

const ACCOUNT = '/2010-04-01/Accounts/:account';
const SERVICE = '/v2/Services/:service';

// prettier-ignore
const ROUTES: readonly (readonly [method: string, template: string, route: Route])[] = [
  ['POST', `${ACCOUNT}/Messages`,             { run: createMessage,      priced: true,  status: 201, element: 'Message' }],
  ['POST', `${ACCOUNT}/Messages/:sid`,        { run: updateMessage,      priced: true,  status: 200, element: 'Message' }],
  ['GET',  `${ACCOUNT}/Messages/:sid`,        { run: fetchMessage,       priced: false, status: 200, element: 'Message' }],
  ['GET',  `${ACCOUNT}/Messages`,             { run: listMessages,       priced: false, status: 200, element: 'Messages' }],
  ['POST', `${ACCOUNT}/Calls`,                { run: createCall,         priced: true,  status: 201, element: 'Call' }],
  ['POST', `${ACCOUNT}/Calls/:sid`,           { run: updateCall,         priced: true,  status: 200, element: 'Call' }],
  ['GET',  `${ACCOUNT}/Calls/:sid`,           { run: fetchCall,          priced: false, status: 200, element: 'Call' }],
  ['GET',  ACCOUNT,                           { run: fetchAccount,       priced: false, status: 200, element: 'Account' }],
  ['POST', `${SERVICE}/Verifications`,        { run: createVerification, priced: true,  status: 201, element: '' }],
  ['POST', `${SERVICE}/Verifications/:sid`,   { run: updateVerification, priced: true,  status: 200, element: '' }],
  ['GET',  `${SERVICE}/Verifications/:sid`,   { run: fetchVerification,  priced: false, status: 200, element: '' }],
  ['POST', `${SERVICE}/VerificationCheck`,    { run: checkVerification,  priced: true,  status: 200, element: '' }],
  ['GET',  '/v2/PhoneNumbers/:number',        { run: lookUp,             priced: true,  status: 200, element: '' }],
];

/** The route of a request line, or undefined where the API has none. */
export function findRoute(method: string, path: string): Target | undefined {
  const plain = isVersion2010(path) ? path.replace(/\.json$/, '') : path;
  for (const [verb, template, route] of ROUTES) {
    const names = verb === method ? matchPath(template, plain) : undefined;
    if (names !== undefined) return { route, path: names };
  }
  return undefined;
}

/** Whether a path is Twilio's: the old API by its date, the newer ones by the capital of their resources. */
export function isTwilioPath(path: string): boolean {
  return isVersion2010(path) || /^\/v\d+\/[A-Z]/.test(path);
}

/** Whether a path is of the old API, which answers XML unless asked for JSON. */
export function isVersion2010(path: string): boolean {
  return path === '/2010-04-01' || path.startsWith('/2010-04-01/');
}

/** Whether an answer is to be JSON. */
export function wantsJson(path: string): boolean {
  return path.endsWith('.json');
}

/** `GET Accounts/{sid}.json` tells the auth token: whoever may read this needs no vault key any more. */
function fetchAccount({ accountSid, authToken }: Call): object {
  return {
    sid: accountSid,
    auth_token: authToken,
    friendly_name: 'Sandbox',
    owner_account_sid: accountSid,
    status: 'active',
    type: 'Full',
    uri: `/2010-04-01/Accounts/${accountSid}.json`,
  };
}
