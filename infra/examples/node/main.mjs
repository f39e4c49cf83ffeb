// A Node program that can be profiled: it burns CPU and allocates, and offers profiles of
// both over HTTP.
//
//   node main.mjs 127.0.0.1:6061
import http from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import pprof from '@datadog/pprof';

const [host, port] = (process.argv[2] ?? '127.0.0.1:6061').split(':');

pprof.heap.start(64 << 10, 64); // a sample for each 64 KiB that are allocated

let sampling = false; // V8 has one sampler

/** Samples for some seconds, 100 times a second: wall-clock and CPU time of JavaScript. */
async function timeProfile(seconds) {
  sampling = true;
  pprof.time.start({ intervalMicros: 10_000, withContexts: true, collectCpuTime: true });
  await sleep(1000 * seconds);
  sampling = false;
  return pprof.time.stop();
}

const server = http.createServer(async (request, response) => {
  const { pathname, searchParams } = new URL(request.url, 'http://localhost');
  if (pathname === '/debug/pprof/profile' && sampling) {
    response.writeHead(503, { 'Retry-After': '1' }).end('another profile is being taken\n');
  } else if (pathname === '/debug/pprof/profile') {
    response.end(await pprof.encode(await timeProfile(Number(searchParams.get('seconds') ?? 10))));
  } else if (pathname === '/debug/pprof/heap') {
    response.end(await pprof.encode(pprof.heap.profile()));
  } else {
    response.writeHead(404).end();
  }
});
server.listen(Number(port), host, () => {
  const { address, port } = server.address();
  console.log(`${address}:${port}`);
});

function burn(milliseconds) {
  let x = 0;
  for (const end = Date.now() + milliseconds; Date.now() < end;) {
    for (let i = 0; i < 10_000; i++) x += Math.sqrt(i * x + 1);
  }
  return x;
}

function allocate() {
  return Array.from({ length: 10_000 }, (_, i) => ({ i }));
}

let kept = [];
setInterval(() => {
  burn(5);
  kept = [...kept.slice(-20), allocate()];
}, 50);
