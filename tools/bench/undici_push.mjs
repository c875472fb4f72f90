// undici_push.mjs: what a push worker on Node does per message: one POST by undici's pool, a number of them in flight.
// node undici_push.mjs PORT REQUESTS IN_FLIGHT FILE: FILE holds the request to send (from `load push --print`).
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const [port, requests, inFlight, file] = process.argv.slice(2);
const { Pool } = createRequire(process.cwd() + '/')('undici'); // started in the folder that it is installed in
const text = readFileSync(file, 'latin1');
const end = text.indexOf('\r\n\r\n');
const headers = {};
for (const line of text.slice(0, end).split('\r\n').slice(1)) {
  const at = line.indexOf(':');
  const name = line.slice(0, at).toLowerCase();
  if (name !== 'host' && name !== 'content-length') headers[name] = line.slice(at + 1).trim();
}
const body = text.slice(end + 4);
const pool = new Pool(`http://127.0.0.1:${port}`, { connections: +inFlight, pipelining: 1 });

let left = 0;
async function worker() {
  while (left > 0) {
    left--;
    const answer = await pool.request({ path: '/push', method: 'POST', headers, body });
    await answer.body.dump();
    if (answer.statusCode >= 300) throw new Error(`the responder answered ${answer.statusCode}`);
  }
}
async function run(count) {
  left = count;
  await Promise.all(Array.from({ length: +inFlight }, worker));
}
await run(Math.max(2000, Math.floor(requests / 10))); // until the compiler of Node is warm
const cpu = process.cpuUsage();
const begin = process.hrtime.bigint();
await run(+requests);
const seconds = Number(process.hrtime.bigint() - begin) / 1e9;
const used = process.cpuUsage(cpu);
await pool.close();
console.log(JSON.stringify({ requests: +requests, seconds, per_second: requests / seconds, user_us: used.user / requests, system_us: used.system / requests }));
