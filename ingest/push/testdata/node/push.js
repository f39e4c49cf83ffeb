// Profiles itself with Pyroscope's SDK for Node and pushes to the server named in argv[2].
import Pyroscope from '@pyroscope/nodejs';

Pyroscope.init({
  serverAddress: process.argv[2],
  appName: 'node-shop',
  tags: { region: 'eu' },
  flushIntervalMs: 1000,
  wall: { samplingDurationMs: 1000, collectCpuTime: true },
  heap: { samplingIntervalBytes: 1024 },
});
Pyroscope.start();

function burnNode(until) {
  const kept = [];
  while (Date.now() < until) {
    kept.push(new Array(100).fill(Math.sqrt(kept.length)));
    if (kept.length > 10000) kept.length = 0;
  }
  return kept.length;
}

// The SDK may begin another round while it stops, which then throws.
let stopping = false;
process.on('uncaughtException', (err) => {
  if (stopping && /not enabled|not started/.test(err.message)) return;
  console.error(err);
  process.exit(1);
});

const end = Date.now() + 3500;
const timer = setInterval(async () => {
  Pyroscope.wrapWithLabels({ handler: 'cart' }, () => burnNode(Date.now() + 100));
  if (Date.now() > end) {
    clearInterval(timer);
    stopping = true;
    await Pyroscope.stop();
    process.exit(0);
  }
}, 120);
