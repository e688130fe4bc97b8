import type { Customer } from './objects';
import { parseParams } from './params';
import { type Call, mergeMetadata } from './state';

const FIELDS = {
  address: 'any',
  balance: 'integer',
  description: 'string',
  email: 'string',
  invoice_settings: 'any',
  metadata: 'hash',
  name: 'string',
  payment_method: 'string',
  phone: 'string',
  preferred_locales: 'any',
  shipping: 'any',
  source: 'any',
  tax: 'any',
  tax_exempt: 'string',
} as const;

/** `POST /v1/customers`: costs nothing. */
export function createCustomer(call: Call): Customer {
  const params = parseParams(call.form, FIELDS);
  const customer: Customer = {
    id: call.state.newId('cus'),
    object: 'customer',
    created: call.state.seconds(),
    description: params.description || null,
    email: params.email || null,
    livemode: false,
    metadata: mergeMetadata({}, params.metadata),
    name: params.name || null,
    phone: params.phone || null,
  };
  call.state.customers.add(customer, call.origin);
  call.state.emit('customer.created', customer, call.origin);
  return customer;
}

/** `POST /v1/customers/{id}` */
export function updateCustomer(call: Call): Customer {
  const row = call.state.customers.get(call.id);
  const params = parseParams(call.form, FIELDS);
  const before = row.object;
  row.object = {
    ...before,
    description: params.description ?? before.description,
    email: params.email ?? before.email,
    metadata: mergeMetadata(before.metadata, params.metadata),
    name: params.name ?? before.name,
    phone: params.phone ?? before.phone,
  };
  call.state.emit('customer.updated', row.object, call.origin);
  return row.object;
}
