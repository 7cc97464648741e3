import { describe, expect, test } from "bun:test";
import { MeshError } from "../base/errors.ts";
import { Body, type BodySink } from "./body.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

class Written implements BodySink {
  text = "";
  ended: string | null = null;
  room = Number.POSITIVE_INFINITY;

  write(piece: Uint8Array): boolean {
    this.text += new TextDecoder().decode(piece);
    return --this.room > 0;
  }

  end(trailers: readonly string[] | null): void {
    this.ended = `end ${trailers?.join(" ") ?? ""}`;
  }

  fail(error: MeshError): void {
    this.ended = `fail ${error.code}`;
  }
}

function make() {
  const said: string[] = [];
  const body = new Body({ onResume: () => said.push("resume"), onCancel: () => said.push("cancel") });
  return { body, said };
}

describe("a body", () => {
  test("without a sink waits, and tells its source to wait", () => {
    const { body, said } = make();
    expect(body.push(bytes("a"))).toBe(false);
    body.finish(["t", "1"]);
    const sink = new Written();
    body.pipe(sink);
    expect([sink.text, sink.ended, said]).toEqual(["a", "end t 1", ["resume"]]);
  });

  test("a full sink holds the source back until it resumes; the end comes after what waited", () => {
    const { body, said } = make();
    const sink = new Written();
    sink.room = 1;
    body.pipe(sink);
    expect(said).toEqual(["resume"]);
    expect(body.push(bytes("a"))).toBe(false);
    expect(body.push(bytes("b"))).toBe(false);
    body.finish(null);
    expect([sink.text, sink.ended]).toEqual(["a", null]);
    sink.room = 9;
    body.resume();
    expect([sink.text, sink.ended]).toEqual(["ab", "end "]);
  });

  test("a failure is told after what came before it", () => {
    const { body } = make();
    body.push(bytes("half"));
    body.fail(new MeshError("connection_closed", "peer", "gone"));
    const sink = new Written();
    body.pipe(sink);
    expect([sink.text, sink.ended]).toEqual(["half", "fail connection_closed"]);
  });

  test("kept within its bound it can be sent again; beyond it cannot", () => {
    const { body } = make();
    body.keep(4);
    const first = new Written();
    body.pipe(first);
    body.push(bytes("abcd"));
    expect(body.rewind()).toBe(true);
    body.push(bytes("e"));
    body.finish(null);
    const second = new Written();
    body.pipe(second);
    expect([first.text, second.text, second.ended]).toEqual(["abcd", "abcde", "end "]);
    expect(body.rewind()).toBe(false);
  });

  test("cancelled it tells its source once, and drops what comes", () => {
    const { body, said } = make();
    body.cancel(null);
    body.cancel(null);
    expect(body.push(bytes("x"))).toBe(true);
    expect(said).toEqual(["cancel"]);
  });
});
