/** What Bun and Deno have and Node 22 has not (it came with V8 14): bytes as base64 and hexadecimal. */
const { prototype } = Uint8Array;
const flavour = ({ alphabet = "base64" } = {}) => alphabet;
// Buffer takes whatever it is given; these throw, as the language says, and code rests on that.
const forms = {
  base64: /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}(?:==)?|[A-Za-z0-9+/]{3}=?)?$/,
  base64url: /^(?:[\w-]{4})*(?:[\w-]{2}(?:==)?|[\w-]{3}=?)?$/,
  hex: /^(?:[0-9a-fA-F]{2})*$/,
};
function read(text, form) {
  if (!forms[form].test(text)) throw new SyntaxError(`not ${form}`);
  return new Uint8Array(Buffer.from(text, form));
}
Uint8Array.fromBase64 ??= (text, options) => read(text.replace(/[\t\n\f\r ]/g, ""), flavour(options));
Uint8Array.fromHex ??= (text) => read(text, "hex");
prototype.toHex ??= function () {
  return Buffer.from(this).toString("hex");
};
prototype.toBase64 ??= function (options) {
  const text = Buffer.from(this).toString(flavour(options));
  // Node's base64url is without padding, and base64 with it.
  if (options?.omitPadding === true) return text.replace(/=+$/, "");
  return flavour(options) === "base64url" ? text.padEnd(Math.ceil(text.length / 4) * 4, "=") : text;
};
