/** What makes certificates of CAs, loaded when one is made: in the life of a mesh that is once or twice, and the library takes 25 ms of CPU to load. */

export async function loadAuthority(): Promise<typeof import("./authority.ts")> {
  // First, and awaited: what is loaded later comes in an order of the bundle's own, and the library throws without this.
  await import("reflect-metadata");
  return await import("./authority.ts");
}
