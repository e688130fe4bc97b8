"""The pipeline that people run today: Beam's direct runner, one call of Stripe's SDK for each record, no cap.

usage: beam_direct.py BASE_URL RECORDS.jsonl    needs: pip install apache-beam stripe
Prints seconds and records as JSON.
"""

import json
import logging
import sys
import tempfile
import time

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

logging.disable(logging.WARNING)


class Charge(beam.DoFn):
    def __init__(self, base_url, job):
        self.base_url, self.job = base_url, job

    def setup(self):
        import stripe

        self.stripe = stripe.StripeClient("sk_test_bench_0123456789", base_addresses={"api": self.base_url})

    def process(self, customer):
        try:
            charge = self.stripe.v1.payment_intents.create(
                {"amount": customer["amount_cents"], "currency": "usd", "customer": customer["id"]},
                {"idempotency_key": f"{self.job}:{customer['id']}"},
            )
            yield {"id": customer["id"], "charge": charge.id}
        except Exception as error:
            yield beam.pvalue.TaggedOutput("failed", {"id": customer["id"], "error": str(error)})


def main():
    base_url, path = sys.argv[1:3]
    out = tempfile.mkdtemp()
    started = time.time()
    with beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])) as pipeline:
        charged, failed = (
            pipeline
            | beam.io.ReadFromText(path)
            | beam.Map(json.loads)
            | beam.Reshuffle()
            | beam.ParDo(Charge(base_url, f"beam-{started}")).with_outputs("failed", main="charged")
        )
        charged | "charged" >> beam.Map(json.dumps) | "write charged" >> beam.io.WriteToText(f"{out}/charged")
        failed | "failed" >> beam.Map(json.dumps) | "write failed" >> beam.io.WriteToText(f"{out}/failed")
    seconds = time.time() - started
    with open(f"{out}/charged-00000-of-00001") as lines:
        print(json.dumps({"seconds": seconds, "records": sum(1 for _ in lines)}))


if __name__ == "__main__":
    main()
