/** The binary encoding (`application/x-protobuf`). */
import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import {
  cumulative,
  nanos,
  type OtlpExemplar,
  type OtlpInterval,
  type OtlpLog,
  type OtlpMetric,
  type OtlpPoint,
  type OtlpSource,
  type OtlpSpan,
  severityNumbers,
  spanKindServer,
  statusError,
} from "./items.ts";

export function binaryRequest(
  { resource, scope, version }: OtlpSource,
  writeItems: (writer: BinaryWriter) => void,
): Uint8Array {
  const writer = new BinaryWriter();
  writer.tag(1, WireType.LengthDelimited).fork();
  writer.tag(1, WireType.LengthDelimited).fork();
  writeAttributes(writer, 1, Object.entries(resource));
  writer.join();
  writer.tag(2, WireType.LengthDelimited).fork();
  writer.tag(1, WireType.LengthDelimited).fork();
  writeText(writer, 1, scope);
  writeText(writer, 2, version);
  writer.join();
  writeItems(writer);
  writer.join();
  return writer.join().finish();
}

export function writeMessage<T>(
  writer: BinaryWriter,
  number: number,
  item: T,
  write: (writer: BinaryWriter, item: T) => void,
): void {
  writer.tag(number, WireType.LengthDelimited).fork();
  write(writer, item);
  writer.join();
}

function writeText(writer: BinaryWriter, number: number, text: string): void {
  if (text !== "") writer.tag(number, WireType.LengthDelimited).string(text);
}

function writeId(writer: BinaryWriter, number: number, hex: string): void {
  if (hex !== "") writer.tag(number, WireType.LengthDelimited).bytes(Uint8Array.fromHex(hex));
}

function writeTime(writer: BinaryWriter, number: number, ms: number): void {
  writer.tag(number, WireType.Bit64).fixed64(nanos(ms));
}

/** `KeyValue`s (`common.proto`). */
function writeAttributes(
  writer: BinaryWriter,
  number: number,
  entries: Iterable<readonly [string, string | number | boolean]>,
): void {
  for (const [key, value] of entries) {
    writer.tag(number, WireType.LengthDelimited).fork();
    writer.tag(1, WireType.LengthDelimited).string(key);
    writer.tag(2, WireType.LengthDelimited).fork();
    writeValue(writer, value);
    writer.join().join();
  }
}

/** `AnyValue`. */
function writeValue(writer: BinaryWriter, value: string | number | boolean): void {
  if (typeof value === "string") writer.tag(1, WireType.LengthDelimited).string(value);
  else if (typeof value === "boolean") writer.tag(2, WireType.Varint).bool(value);
  else if (Number.isSafeInteger(value)) writer.tag(3, WireType.Varint).int64(value);
  else writer.tag(4, WireType.Bit64).double(value);
}

export function writeSpan(writer: BinaryWriter, span: OtlpSpan): void {
  writeId(writer, 1, span.traceId);
  writeId(writer, 2, span.spanId);
  writeId(writer, 4, span.parentId);
  writeText(writer, 5, span.name);
  writer.tag(6, WireType.Varint).int32(spanKindServer);
  writeTime(writer, 7, span.startedWallMs);
  writeTime(writer, 8, span.startedWallMs + span.durationMs);
  writeAttributes(writer, 9, Object.entries(span.attributes));
  writer.tag(15, WireType.LengthDelimited).fork();
  if (span.isError) writer.tag(3, WireType.Varint).int32(statusError);
  writer.join();
}

export function writeLog(writer: BinaryWriter, log: OtlpLog): void {
  writeTime(writer, 1, log.wallMs);
  writer.tag(2, WireType.Varint).int32(severityNumbers[log.severity]);
  writeText(writer, 3, log.severity);
  writer.tag(5, WireType.LengthDelimited).fork();
  writeValue(writer, log.body);
  writer.join();
  writeAttributes(writer, 6, Object.entries(log.attributes));
  writeId(writer, 9, log.traceId);
  writeId(writer, 10, log.spanId);
  writeTime(writer, 11, log.wallMs);
}

export function writeMetric(writer: BinaryWriter, metric: OtlpMetric, interval: OtlpInterval): void {
  writeText(writer, 1, metric.name);
  writeText(writer, 2, metric.description);
  writer.tag({ gauge: 5, counter: 7, histogram: 9 }[metric.type], WireType.LengthDelimited).fork();
  for (const point of metric.points)
    writeMessage(writer, 1, point, (inner) => writePoint(inner, point, interval));
  if (metric.type !== "gauge") writer.tag(2, WireType.Varint).int32(cumulative);
  if (metric.type === "counter") writer.tag(3, WireType.Varint).bool(true);
  writer.join();
}

/** `NumberDataPoint`, `HistogramDataPoint`. */
function writePoint(
  writer: BinaryWriter,
  { attributes, value }: OtlpPoint,
  { startMs, endMs }: OtlpInterval,
): void {
  writeTime(writer, 2, startMs);
  writeTime(writer, 3, endMs);
  if (typeof value === "number") {
    writer.tag(4, WireType.Bit64).double(value);
    writeAttributes(writer, 7, attributes);
    return;
  }
  writer.tag(4, WireType.Bit64).fixed64(value.count);
  writer.tag(5, WireType.Bit64).double(value.sum);
  writer.tag(6, WireType.LengthDelimited).fork();
  for (const count of value.counts) writer.fixed64(count);
  writer.join();
  writer.tag(7, WireType.LengthDelimited).fork();
  for (const bound of value.bounds) writer.double(bound);
  writer.join();
  for (const exemplar of value.exemplars) writeMessage(writer, 8, exemplar, writeExemplar);
  writeAttributes(writer, 9, attributes);
}

function writeExemplar(writer: BinaryWriter, exemplar: OtlpExemplar): void {
  writeTime(writer, 2, exemplar.wallMs);
  writer.tag(3, WireType.Bit64).double(exemplar.value);
  writeId(writer, 4, exemplar.spanId);
  writeId(writer, 5, exemplar.traceId);
}

/** `Export…ServiceResponse`: `partial_success` is 1, the number in it 1. */
export function binaryRejected(body: Uint8Array): number {
  const outer = new BinaryReader(body);
  let rejected = 0;
  while (outer.pos < outer.len) {
    const [number, type] = outer.tag();
    if (number !== 1 || type !== WireType.LengthDelimited) {
      outer.skip(type, number);
      continue;
    }
    const inner = new BinaryReader(outer.bytes());
    while (inner.pos < inner.len) {
      const [field, wire] = inner.tag();
      if (field === 1 && wire === WireType.Varint) rejected = Number(inner.int64());
      else inner.skip(wire, field);
    }
  }
  return rejected;
}
