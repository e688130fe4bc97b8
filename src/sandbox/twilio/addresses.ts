/** Numbers and other addresses, and those that stand for something that goes wrong. */
import { type TwilioFailure, badRequest } from './errors';

const E164 = /^\+[1-9]\d{6,14}$/;
const CHANNEL = /^(whatsapp|messenger|rcs):/;
const SHORT_CODE = /^\d{5,6}$/;
/** A sender's name: up to 11 letters, digits and spaces, at least one letter. */
const SENDER_NAME = /^(?=.*[A-Za-z])[A-Za-z0-9 ]{1,11}$/;

/** The numbers that Twilio's test credentials refuse; https://www.twilio.com/docs/iam/test-credentials */
const REFUSED_TO: Readonly<Record<string, readonly [number, string]>> = {
  '+15005550001': [21211, "Invalid 'To' Phone Number: +1500555XXXX"],
  '+15005550002': [21612, "The 'To' phone number cannot be reached."],
  '+15005550003': [21408, "Permission to send an SMS has not been enabled for the region of the 'To' number."],
  '+15005550004': [21610, 'Attempt to send to unsubscribed recipient'],
  '+15005550009': [21614, "'To' number is not a valid mobile number"],
};
const REFUSED_FROM: Readonly<Record<string, readonly [number, string]>> = {
  '+15005550001': [21212, "Invalid 'From' Number: +15005550001"],
  '+15005550007': [21606, "The 'From' phone number +15005550007 is not a valid, SMS-capable number for your account."],
  '+15005550008': [21611, "This 'From' number has exceeded the maximum number of queued messages"],
};

/** Whether a text is a number in full. */
export function isNumber(text: string): boolean {
  return E164.test(text);
}

/** Refuses a recipient that cannot be one. */
export function checkTo(to: string): void {
  if (!E164.test(to.replace(CHANNEL, ''))) throw badRequest(21211, `Invalid 'To' Phone Number: ${masked(to)}`);
  refuse(REFUSED_TO, to);
}

/** Refuses a sender that cannot be one. */
export function checkFrom(from: string): void {
  const plain = from.replace(CHANNEL, '');
  if (!E164.test(plain) && !SHORT_CODE.test(plain) && !SENDER_NAME.test(plain)) {
    throw badRequest(21212, `Invalid 'From' Number: ${masked(from)}`);
  }
  refuse(REFUSED_FROM, from);
}

/** Where nothing is priced, nothing may be sent. */
export function notEnabled(to: string): TwilioFailure {
  const message = `Permission to send an SMS has not been enabled for the region indicated by the 'To' number: ${to}.`;
  return badRequest(21408, message);
}

function refuse(table: Readonly<Record<string, readonly [number, string]>>, address: string): void {
  const refused = Object.hasOwn(table, address) ? table[address] : undefined;
  if (refused !== undefined) throw badRequest(...refused);
}

/** As Twilio does it: the last four digits are not repeated. */
function masked(address: string): string {
  return address.replace(/.{1,4}$/, 'XXXX');
}
