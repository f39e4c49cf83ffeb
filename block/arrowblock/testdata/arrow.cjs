// Prints every Arrow IPC stream of a folder as JSON, one line a file, read by Arrow's own
// JavaScript library: {"file": ..., "columns": {name: [values]}}, numbers as strings.
const fs = require('fs')
const path = require('path')
const arrow = require('apache-arrow')
const fzstd = require('fzstd')

arrow.compressionRegistry.set(arrow.CompressionType.ZSTD, { decode: (bytes) => fzstd.decompress(bytes).slice() }) // slice: aligned

const plain = (v) => {
  if (v === null || typeof v === 'string') return v
  if (typeof v === 'number' || typeof v === 'bigint') return String(v)
  if (v instanceof arrow.Vector) return Array.from(v, plain)
  return Object.fromEntries(Object.entries(v.toJSON()).map(([name, value]) => [name, plain(value)]))
}

for (const file of fs.readdirSync(process.argv[2])) {
  const table = arrow.tableFromIPC(fs.readFileSync(path.join(process.argv[2], file)))
  const columns = {}
  for (const field of table.schema.fields) {
    columns[field.name] = Array.from(table.getChild(field.name), plain)
  }
  console.log(JSON.stringify({ file, columns }))
}
