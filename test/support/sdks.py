"""Runs the official Python SDK of one vendor, unmodified, against a proxy. Arguments: the vendor, the proxy's URL.

Each line of the input is {"act", "key", "idempotency_key"?}; each line of the output is what came of it.
"""

import itertools
import json
import sys

vendor, url = sys.argv[1:]
ACCOUNT = "AC" + "0a" * 16
MESSAGE = "SM" + "0e" * 16


def stripe_acts():
    import stripe

    def charge(key, options, **more):
        return client(key).v1.payment_intents.create({"amount": 500, "currency": "usd", "confirm": True, **more}, options)

    def client(key):
        hosts = {name: url + "/stripe" for name in ("api", "files", "connect", "meter_events")}
        return stripe.StripeClient(key, base_addresses=hosts)

    def read(error):
        return {"status": error.http_status, "code": error.error and error.error.code, "message": error.user_message}

    item = {"customer": "cus_1", "items": [{"price": "price_1"}]}
    acts = {
        "pay": charge,
        "pay other": lambda key, options: charge(key, options, amount=501),
        "large": lambda key, options: charge(key, options, description="x" * 300_000),
        "too large": lambda key, options: charge(key, options, description="x" * 1_200_000),
        "declined": lambda key, options: charge(key, options, customer="cus_decline"),
        "unpriceable": lambda key, options: charge(key, options, amount=-5),
        "currency": lambda key, options: charge(key, options, currency="eur"),
        "parameter": lambda key, options: charge(key, options, transfer_data={"destination": "acct_1"}),
        "account": lambda key, options: charge(key, {"stripe_account": "acct_1"}),
        "forbidden": lambda key, options: client(key).v1.accounts.retrieve("acct_1"),
        "unpriced": lambda key, options: client(key).v1.subscriptions.create(item),
        "not on the list": lambda key, options: client(key).v1.customers.create({"name": "x"}),
    }
    return acts, stripe.StripeError, lambda made: made.id, read


def twilio_acts():
    from twilio.base.exceptions import TwilioRestException
    from twilio.rest import Client

    texts = itertools.count()

    def client(key, account=ACCOUNT):
        made = Client(account, key)
        made.api.base_url = url + "/twilio"
        return made

    def text(key, options, account=ACCOUNT, **more):
        # Equal texts to one number leave one at a time; these are each their own.
        given = {"to": "+14155550100", "from_": "+15005550006", "body": "hi from Python %d" % next(texts), **more}
        return client(key, account).messages.create(**given)

    def read(error):
        return {"status": error.status, "code": (error.details or {}).get("keybrake_code", error.code), "message": error.msg}

    acts = {
        "pay": text,
        "read": lambda key, options: client(key).messages(MESSAGE).fetch(),
        "too large": lambda key, options: text(key, options, body="x" * 1_200_000),
        "declined": lambda key, options: text(key, options, body="x" * 1_601),
        "unpriceable": lambda key, options: text(key, options, to="+4915112345678"),
        "parameter": lambda key, options: client(key).messages(MESSAGE).update(body="x"),
        "account": lambda key, options: text(key, options, account="AC" + "0f" * 16),
        "forbidden": lambda key, options: client(key).api.v2010.accounts(ACCOUNT).fetch(),
        "unpriced": lambda key, options: client(key).incoming_phone_numbers.create(phone_number="+14155550199"),
        "not on the list": lambda key, options: client(key).calls.create(
            to="+14155550100", from_="+15005550006", twiml="<Response><Hangup/></Response>"
        ),
    }
    return acts, TwilioRestException, lambda made: made.sid, read


def resend_acts():
    import resend
    from resend.exceptions import ResendError

    resend.api_url = url + "/resend"

    def calling(act):
        def call(key, options):
            resend.api_key = key
            return act(options)

        return call

    def mail(options, **more):
        return resend.Emails.send({"from": "a@b.test", "to": ["c@d.test"], "subject": "s", "text": "t", **more}, options)

    def read(error):
        return {"status": error.code, "code": error.error_type, "message": error.message}

    acts = {
        "pay": mail,
        "pay other": lambda options: mail(options, subject="other"),
        "too large": lambda options: mail(options, text="x" * 1_200_000),
        "declined": lambda options: mail(options, **{"from": "nobody"}),
        "unpriceable": lambda options: mail(options, to="c@d.test, e@f.test"),
        "parameter": lambda options: mail(options, headers={"Bcc": "e@f.test"}),
        "forbidden": lambda options: resend.ApiKeys.create({"name": "x"}),
        "unpriced": lambda options: resend.Broadcasts.send({"broadcast_id": "b1"}),
        "not on the list": lambda options: resend.Emails.cancel("e1"),
    }
    return {name: calling(act) for name, act in acts.items()}, ResendError, lambda made: made["id"], read


acts, base, id_of, read = {"stripe": stripe_acts, "twilio": twilio_acts, "resend": resend_acts}[vendor]()

for line in sys.stdin:
    asked = json.loads(line)
    idempotency_key = asked.get("idempotency_key")
    options = {} if idempotency_key is None else {"idempotency_key": idempotency_key}
    try:
        answer = {"id": id_of(acts[asked["act"]](asked["key"], options))}
    except base as error:
        answer = {"exception": type(error).__name__, **read(error)}
    except Exception as error:
        answer = {"exception": "not the SDK's own: " + repr(error)}
    print(json.dumps(answer), flush=True)
