/**
 * Payloads as Temporal's SDK has them, and JSON that comes as `json/protobuf`: the form of the Temporal UI offers that
 * beside `json/plain`, and the SDK reads it with protobuf classes only. What cannot be read fails the workflow task again
 * and again, so that a `revoke` sent as such would stop nothing, and the run could never be revoked after it.
 */
import {
  BinaryPayloadConverter,
  CompositePayloadConverter,
  encodingTypes,
  JsonPayloadConverter,
  type PayloadConverterWithEncoding,
  UndefinedPayloadConverter,
} from '@temporalio/common';

const json = new JsonPayloadConverter();

/** Reads only: nothing is sent as such. */
const protobufJson: PayloadConverterWithEncoding = {
  encodingType: encodingTypes.METADATA_ENCODING_PROTOBUF_JSON,
  toPayload: () => undefined,
  fromPayload: (payload) => json.fromPayload(payload),
};

/** For `dataConverter: { payloadConverterPath: require.resolve('keybrake-temporal/payload-converter') }`. */
export const payloadConverter = new CompositePayloadConverter(
  new UndefinedPayloadConverter(),
  new BinaryPayloadConverter(),
  json,
  protobufJson,
);
