/** The program's version, the one in package.json; `tidy.test.ts` keeps them equal. */
export const version = "0.1.0";
