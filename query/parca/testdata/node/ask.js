// Asks the server named in argv[2] as Parca's web page does: with Parca's own client, over
// gRPC-Web as text. argv[3] is a request's query, argv[4] and argv[5] its range in seconds.
// Writes as JSON what the page would draw.
import { register } from 'node:module';

// The client's modules name each other without .js, as a bundler takes it.
register('data:text/javascript,' + encodeURIComponent(`
export async function resolve(specifier, context, next) {
  try { return await next(specifier, context); } catch (e) {
    if (!specifier.startsWith('.')) throw e;
    return next(specifier + '.js', context);
  }
}`));
const { QueryServiceClient, QueryRequest_Mode, QueryRequest_ReportType } = await import('@parca/client');
const { GrpcWebFetchTransport } = await import('@protobuf-ts/grpcweb-transport');
const { tableFromIPC } = await import('apache-arrow');

const [server, query, from, to] = process.argv.slice(2);
const client = new QueryServiceClient(new GrpcWebFetchTransport({ baseUrl: server + '/api', format: 'text' }));
const time = seconds => ({ seconds: BigInt(seconds), nanos: 0 });
const range = { start: time(from), end: time(to) };

const types = (await client.profileTypes(range)).response.types;
const labels = (await client.labels({ match: [], ...range })).response.labelNames;
const values = (await client.values({ labelName: 'pod', match: [], ...range })).response.labelValues;
const series = (await client.queryRange({ query, ...range, limit: 0, step: { seconds: 10n, nanos: 0 }, sumBy: ['pod'] })).response.series;
const report = (await client.query({
  mode: QueryRequest_Mode.MERGE,
  reportType: QueryRequest_ReportType.FLAMEGRAPH_ARROW,
  options: { oneofKind: 'merge', merge: { query, ...range } },
  filter: [],
})).response;
let refused = '';
try {
  await client.query({ mode: QueryRequest_Mode.MERGE, reportType: QueryRequest_ReportType.TOP, options: { oneofKind: 'merge', merge: { query: '{', ...range } }, filter: [] });
} catch (e) {
  refused = e.code + ': ' + decodeURIComponent(e.message);
}

// The flame graph by the names of its columns.
const table = tableFromIPC(report.report.flamegraphArrow.record);
const column = name => table.getChild(name);
const text = v => (v == null ? '' : typeof v === 'string' ? v : new TextDecoder().decode(v));
const rows = [];
for (let i = 0; i < table.numRows; i++) {
  const children = column('children').get(i);
  rows.push({
    name: text(column('function_name').get(i)),
    file: text(column('function_file_name').get(i)),
    mapping: text(column('mapping_file').get(i)),
    address: Number(column('location_address').get(i)),
    cumulative: Number(column('cumulative').get(i)),
    flat: Number(column('flat').get(i)),
    diff: Number(column('diff').get(i)),
    depth: Number(column('depth').get(i)),
    parent: Number(column('parent').get(i)),
    offset: Number(column('value_offset').get(i)),
    children: children == null ? [] : Array.from(children, Number),
  });
}
console.log(JSON.stringify({
  types: types.map(t => [t.name, t.sampleType, t.sampleUnit, t.periodType, t.periodUnit].join(':') + (t.delta ? ':delta' : '')),
  labels, values, refused,
  points: series.map(s => s.samples.length),
  total: Number(report.total), filtered: Number(report.filtered), rows,
}));
