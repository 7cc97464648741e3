/** RFC 9110 §5.1: the name of a field is a token. */
const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}$/;

export function isHeaderName(text: string): boolean {
  return token.test(text);
}
