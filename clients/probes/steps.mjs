// What probes in JavaScript share: where the server is, and steps that print their names as they pass.
export const BASE = process.env.CLIENTS_URL;
export const MODEL = process.env.CLIENTS_MODEL;

export async function step(name, run) {
  console.log(`step ${name}`);
  await run();
  console.log(`ok ${name}`);
}

export function expect(holds, told) {
  if (!holds) throw new Error(JSON.stringify(told)?.slice(0, 500));
}
