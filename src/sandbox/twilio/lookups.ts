/** Lookups, version 2: reads that cost money, by the fields asked for. */
import { isNumber } from './addresses';
import { badRequest } from './errors';
import { FIELD_MICROS } from './prices';
import { type Call, param } from './state';

/** `GET /v2/PhoneNumbers/{number}?Fields=…`; what cannot be a number is answered, not billed. */
export function lookUp({ state, path, form, requestId }: Call): object {
  const fields = (param(form, 'Fields') ?? '').split(',').filter((field) => field !== '');
  const unknown = fields.find((field) => !Object.hasOwn(FIELD_MICROS, field));
  if (unknown !== undefined) throw badRequest(20001, `Invalid Fields: ${unknown}`);
  const to = path['number'] ?? '';
  const valid = isNumber(to);
  const micros = fields.reduce((sum, field) => sum + (FIELD_MICROS[field] ?? 0), 0);
  const sid = state.newSid('LU');
  if (valid) state.lookups.push({ kind: 'lookup', sid, to, fields, micros, createdMs: state.now(), requestId });
  return { ...describe(to, valid), ...Object.fromEntries(fields.map((field) => [field, RESULTS[field] ?? null])) };
}

const RESULTS: Readonly<Record<string, object>> = {
  caller_name: { caller_name: 'A CALLER', caller_type: 'CONSUMER', error_code: null },
  line_type_intelligence: { carrier_name: 'A Carrier', error_code: null, type: 'mobile' },
  sms_pumping_risk: { carrier_risk_category: 'low', error_code: null, number_blocked: false },
};

function describe(to: string, valid: boolean): Readonly<Record<string, unknown>> {
  return {
    calling_country_code: valid ? to.slice(1, 2) : null,
    country_code: to.startsWith('+1') && valid ? 'US' : null,
    phone_number: to,
    national_format: valid ? to.slice(2) : null,
    valid,
    validation_errors: valid ? [] : ['INVALID_BUT_POSSIBLE'],
    call_forwarding: null,
    caller_name: null,
    identity_match: null,
    line_status: null,
    line_type_intelligence: null,
    phone_number_quality_score: null,
    pre_fill: null,
    reassigned_number: null,
    sim_swap: null,
    sms_pumping_risk: null,
    url: `https://lookups.twilio.com/v2/PhoneNumbers/${to}`,
  };
}
