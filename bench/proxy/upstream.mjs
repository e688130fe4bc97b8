/**
 * A vendor with nothing to do: answers each PaymentIntent at once, or after the milliseconds it was last told. Asked for
 * its count, it tells what it has executed.
 */
import { createServer } from 'node:http';

let made = 0;
let cents = 0;
let delayMs = 0;
process.on('message', (told) => {
  if (told.count) process.send({ made, cents });
  else ({ delayMs } = told);
});

const server = createServer((request, response) => {
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => {
    const amount = /(?:^|&)amount=(\d+)/.exec(Buffer.concat(chunks).toString())?.[1];
    made += 1;
    cents += Number(amount ?? 0);
    const body = amount === undefined ? '{}' : paymentIntent(`pi_3Bench${String(made).padStart(18, '0')}`, amount);
    response.writeHead(amount === undefined ? 404 : 200, {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
      'request-id': `req_${made}`,
      'stripe-version': '2026-10-28.acacia',
      'cache-control': 'no-cache, no-store',
    });
    if (delayMs === 0) response.end(body);
    else setTimeout(() => response.end(body), delayMs);
  });
});
server.keepAliveTimeout = 75_000;
server.listen(0, '127.0.0.1', () => process.send({ url: `http://127.0.0.1:${server.address().port}` }));

/** About as long as Stripe's own. */
function paymentIntent(id, amount) {
  return `{"id":"${id}","object":"payment_intent","amount":${amount},"amount_capturable":0,"amount_details":{"tip":{}},"amount_received":${amount},"application":null,"application_fee_amount":null,"automatic_payment_methods":{"allow_redirects":"never","enabled":true},"canceled_at":null,"cancellation_reason":null,"capture_method":"automatic_async","client_secret":"${id}_secret_9Zk3vQmQy7b0sL1rT5uWxYz2a","confirmation_method":"automatic","created":1795500000,"currency":"usd","customer":"cus_Bench00000001","description":"November invoice","excluded_payment_method_types":null,"last_payment_error":null,"latest_charge":"ch_${id.slice(3)}","livemode":false,"metadata":{"invoice":"in_2026_11"},"next_action":null,"on_behalf_of":null,"payment_method":"pm_1Bench00000000000000001","payment_method_configuration_details":{"id":"pmc_1Bench000000000000001","parent":null},"payment_method_options":{"card":{"installments":null,"mandate_options":null,"network":null,"request_three_d_secure":"automatic"}},"payment_method_types":["card"],"processing":null,"receipt_email":null,"review":null,"setup_future_usage":null,"shipping":null,"source":null,"statement_descriptor":null,"statement_descriptor_suffix":null,"status":"succeeded","transfer_data":null,"transfer_group":null}`;
}
