/**
 * What Bun and Deno have and Node has only with V8 14: bytes as base64 and hexadecimal (TC39 "Uint8Array to/from base64 and hex"). To be
 * imported before anything else.
 */

type Alphabet = "base64" | "base64url";

interface Base64Options {
  readonly alphabet?: Alphabet;
  readonly omitPadding?: boolean;
}

// Buffer takes whatever it is given; these throw, as the language says, and code rests on that.
const forms = {
  base64: /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}(?:==)?|[A-Za-z0-9+/]{3}=?)?$/,
  base64url: /^(?:[\w-]{4})*(?:[\w-]{2}(?:==)?|[\w-]{3}=?)?$/,
  hex: /^(?:[0-9a-fA-F]{2})*$/,
};

function read(text: string, form: keyof typeof forms): Uint8Array<ArrayBuffer> {
  if (!forms[form].test(text)) throw new SyntaxError(`not ${form}`);
  return new Uint8Array(Buffer.from(text, form));
}

function add(target: object, name: string, value: (...args: never[]) => unknown): void {
  if (!(name in target)) Object.defineProperty(target, name, { value, writable: true, configurable: true });
}

add(Uint8Array, "fromBase64", (text: string, { alphabet = "base64" }: Base64Options = {}) =>
  read(text.replace(/[\t\n\f\r ]/g, ""), alphabet),
);
add(Uint8Array, "fromHex", (text: string) => read(text, "hex"));
add(Uint8Array.prototype, "toHex", function (this: Uint8Array): string {
  return Buffer.from(this).toString("hex");
});
add(Uint8Array.prototype, "toBase64", function (this: Uint8Array, options: Base64Options = {}): string {
  const { alphabet = "base64", omitPadding = false } = options;
  const text = Buffer.from(this).toString(alphabet);
  // Node's base64url is without padding, and base64 with it.
  if (omitPadding) return text.replace(/=+$/, "");
  return alphabet === "base64url" ? text.padEnd(Math.ceil(text.length / 4) * 4, "=") : text;
});

export {};
